"""Judges a version beside the champion, on frozen photos that neither learnt from: all gates, whatever one says."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from bintally.bundle import Figure
from bintally.counting.counter import Counter
from bintally.photos import read_photo
from bintally.progress import SILENT, Progress
from bintally.registry.gates import calibrated, cost, papers, quality, shadowed
from bintally.registry.gates.case import Case, Gate
from bintally.registry.gates.frozen import Answers, Frozen, answers_of, frozen_photos
from bintally.registry.gates.outcome import FORMAT, GateOutcome, Judged
from bintally.registry.gates.settings import GateName, PromoteSettings
from bintally.registry.registration.learnt import Seen, seen
from bintally.registry.shadow.figures import shadow_figures

if TYPE_CHECKING:
    from bintally.registry.place import Registry
    from bintally.registry.versions import Version

GATES: Final[dict[GateName, Gate]] = {
    "contract": papers.contract,
    "licence": papers.licence,
    "findings": papers.findings,
    "unseen": papers.unseen,
    "better": quality.better,
    "slices": quality.slices,
    "calibration": calibrated.calibration,
    "speed": cost.speed,
    "size": cost.size,
    "shadow": shadowed.shadow,
}


def run(
    registry: "Registry",
    version: "Version",
    against: "Version | None",
    data: Path,
    settings: PromoteSettings | None = None,
    *,
    progress: Progress = SILENT,
) -> GateOutcome:
    """What all gates say of `version` beside `against` (the champion; None: there is none) on photos of `data`.

    Nothing is written but what each version said of the photos. Without a champion, the limits that need none hold,
    and the version must be better than who never looks at a photo.

    Raises:
        ManifestError, DataError: `data` has no such photos, or none that can be read.
        BundleError: a version's bundle can't be used.
        StorageError: answers can't be written.
    """
    settings = settings or PromoteSettings()
    case = _case(registry, version, against, frozen_photos(data, settings.split), settings, progress)
    results = []
    with progress.task("gates", total=len(settings.gates), unit="gates") as task:
        for name in settings.gates:
            results.append(GATES[name](case))
            task.advance()
    return GateOutcome(
        format=FORMAT,
        version_id=version.id,
        version=version.name,
        against_id=against.id if against else None,
        against=against.name if against else None,
        passed=all(result.passed for result in results),
        gates=tuple(results),
        judged=_judged(case, data),
        figures=_figures(case),
        settings=settings.model_dump(mode="json"),
    )


def _case(
    registry: "Registry",
    version: "Version",
    against: "Version | None",
    photos: Frozen,
    settings: PromoteSettings,
    progress: Progress,
) -> Case:
    learnt = seen(registry, version)
    champions = seen(registry, against) if against else Seen(learnt.photos.clear(), ())
    left = photos.without([learnt.photos, champions.photos])
    mine = answers_of(registry, version, photos, progress=progress)
    theirs = answers_of(registry, against, photos, progress=progress) if against else None

    def measure() -> cost.Times:
        counters = [Counter(registry.bundle_of(each.bundle_sha256)) for each in (version, against) if each]
        once = partial(cost.measure, _timed(mine, photos, settings), *_both(counters))
        return cost.measure_until_fast(once, settings.speed, settings.seed)

    return Case(
        settings=settings,
        version=version,
        against=against,
        everything=photos,
        frozen=left,
        unknown=learnt.unknown,
        unknown_of_champion=champions.unknown,
        answers=mine.of(left),
        answers_of_champion=theirs and theirs.of(left),
        measure=measure,
        shadow=lambda: None if against is None else shadow_figures(registry, version, against),
    )


def _both(counters: Sequence[Counter]) -> tuple[Counter, Counter | None]:
    return counters[0], counters[1] if len(counters) > 1 else None


def _timed(answers: Answers, photos: Frozen, settings: PromoteSettings) -> list[bytes]:
    """The bytes of photos that are timed: drawn by seed, again where there are few."""
    readable = answers.table.filter(pl.col("error").is_null())["bin_image_id"]
    paths = photos.table.filter(pl.col("bin_image_id").is_in(readable.implode()))["path"].to_list()
    rng = np.random.default_rng(settings.seed)
    chosen = rng.choice(len(paths), settings.speed.photos, replace=len(paths) < settings.speed.photos)
    return [read_photo(photos.folder / paths[n]) for n in chosen]


def _judged(case: Case, data: Path) -> Judged:
    return Judged(
        data=str(data),
        split=case.frozen.split,
        fingerprint=case.frozen.fingerprint(),
        photos=0 if case.obstacle else len(case.pair.candidate),
        bins=0 if case.obstacle else len(np.unique(case.pair.groups_n)),
        left_out=case.everything.table.height - (0 if case.obstacle else len(case.pair.candidate)),
        keys=case.keys,
    )


def _figures(case: Case) -> dict[str, dict[str, Figure]]:
    return {} if case.obstacle else case.figures()
