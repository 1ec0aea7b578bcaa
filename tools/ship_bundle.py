"""Makes a workspace's bundle one that ships.

    python tools/ship_bundle.py runs/baseline-mirror
    python tools/ship_bundle.py runs/fast --name fast

Copies WORKSPACE/bundle to src/bintally/champion (or fast), with the figures of WORKSPACE/report (its split judged once,
after everything was chosen on val) written into the card beside val's, and with what `bintally policy fit` made of it.
"""

import argparse
import shutil
from pathlib import Path

import msgspec

from bintally.artifacts import atomic_folder, write_bytes
from bintally.bundle import BESIDE, CARD, CHANGE, MODEL, Bundle, card_json
from bintally.counting.evaluate import METRICS
from bintally.counting.report import EvaluationReport, summary
from bintally.inventory.policy.acceptance import FILE as ACCEPTANCE
from bintally.inventory.policy.acceptance import Acceptance
from bintally.settings import BUNDLED


def main() -> None:
    """Ships what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--name", choices=sorted(BUNDLED), default="champion")
    asked = parser.parse_args()
    print(ship(asked.workspace, BUNDLED[asked.name]))
    shipped = [path for place in BUNDLED.values() for path in place.glob("*")]
    print(f"All bundles together: {sum(path.stat().st_size for path in shipped) / 1e6:.1f} MB")


def ship(workspace: Path, place: Path) -> Path:
    """Replaces the bundle at `place` by `workspace`'s.

    Raises:
        BundleError: the workspace has no whole bundle.
        ValueError: its report judged another model, or nobody has fitted what it may accept.
        BundleError: what it may accept was fitted to another model.
    """
    bundle = Bundle.open(workspace / "bundle")
    report = EvaluationReport.from_json((workspace / "report" / METRICS).read_bytes())
    if report.subject.model_sha256 != bundle.card.model_sha256:
        raise ValueError(f"{workspace}/report judged another model than {workspace}/bundle holds: evaluate again.")
    if Acceptance.of_bundle(bundle.folder, bundle.card) is None:
        raise ValueError(f"Nobody has fitted what {workspace}/bundle may accept: bintally policy fit.")
    metrics = bundle.card.metrics | {report.subject.split: summary(report)}
    with atomic_folder(place) as part:
        for name in (MODEL, BESIDE, CHANGE):
            if bundle.card.graph(name) is not None:
                path = bundle.path_of(name)
                shutil.copyfile(path, part / path.name)
        shutil.copyfile(bundle.folder / ACCEPTANCE, part / ACCEPTANCE)
        write_bytes(part / CARD, card_json(msgspec.structs.replace(bundle.card, metrics=metrics)))
    return place


if __name__ == "__main__":
    main()
