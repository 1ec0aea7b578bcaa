"""Makes a workspace's bundle the one that ships.

    python tools/ship_champion.py runs/baseline-mirror

Copies WORKSPACE/bundle to src/bintally/champion, with the figures of WORKSPACE/report (its split judged once, after
everything was chosen on val) written into the card beside val's.
"""

import shutil
import sys
from pathlib import Path

import msgspec

from bintally.artifacts import atomic_folder, write_bytes
from bintally.bundle import CARD, MODEL, Bundle, card_json
from bintally.counting.evaluate import METRICS
from bintally.counting.report import EvaluationReport, summary
from bintally.settings import BUNDLED_CHAMPION


def ship(workspace: Path) -> Path:
    """Replaces the bundled champion by `workspace`'s bundle.

    Raises:
        BundleError: the workspace has no whole bundle.
        ValueError: its report judged another model.
    """
    bundle = Bundle.open(workspace / "bundle")
    report = EvaluationReport.from_json((workspace / "report" / METRICS).read_bytes())
    if report.subject.model_sha256 != bundle.card.model_sha256:
        raise ValueError(f"{workspace}/report judged another model than {workspace}/bundle holds: evaluate again.")
    metrics = bundle.card.metrics | {report.subject.split: summary(report)}
    with atomic_folder(BUNDLED_CHAMPION) as part:
        shutil.copyfile(bundle.model_path, part / MODEL)
        write_bytes(part / CARD, card_json(msgspec.structs.replace(bundle.card, metrics=metrics)))
    return BUNDLED_CHAMPION


if __name__ == "__main__":
    print(ship(Path(sys.argv[1])))
