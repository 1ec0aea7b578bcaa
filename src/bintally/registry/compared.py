"""The `compare` verb of versions: who is right more often on the same photos, where, and is that more than chance?

The photos are a data folder's frozen ones, each version's answers to which are kept (`gates.frozen`); where no folder
is named, those that both were asked about last. As gates do, it leaves out photos of bins that either learnt from, and
tests by swapping whole bins. Nothing is decided here, and nothing is written but answers and, if asked for, the page.

Shapes: N photos that both answered.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from bintally.bundle import Figure
from bintally.counting import metrics
from bintally.counting.compare import CompareConfig, comparison_of, values_of, write_comparison
from bintally.counting.comparison import LEVEL, Comparison, Kind, Swapped, p_value
from bintally.counting.comparison import Pair as Compares
from bintally.counting.entrants import Entrant
from bintally.counting.intervals import bootstrap_mean
from bintally.counting.paired import holm
from bintally.errors import DataError, UsageError
from bintally.progress import SILENT, Progress
from bintally.registry.gates.case import Case, Pair, blind
from bintally.registry.gates.cost import Times
from bintally.registry.gates.frozen import Answers, Frozen, answers_of, frozen_photos, kept_answers
from bintally.registry.gates.quality import ALL, each_slice
from bintally.registry.gates.settings import PromoteSettings
from bintally.registry.gates.sign_flip import by_bin, sign_flip
from bintally.registry.place import Registry
from bintally.registry.registration.learnt import seen
from bintally.registry.versions import Version, version_of

LEAST: Final = 20
"""Photos of a slice, and of all, that say something."""


_WORDS: Final = {
    "accuracy": ("is right on {amount:.1f} points {more} photos", 100, "more", "fewer"),
    "log_loss": ("has a log loss {amount:.3f} nats {more}", 1, "higher", "lower"),
    "rmse": ("has an RMSE {amount:.3f} items {more}", 1, "higher", "lower"),
}


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """Two versions on the same photos. Differences are the version's figure less the other's.

    `blind`: the figures of who never looks, and knows the mix of counts.
    """

    comparison: Comparison
    blind: dict[str, Figure]
    split: str
    data: str | None
    """The data folder; None: what was kept of both."""
    left_out: int
    """Photos of bins that either learnt from."""
    unknown: tuple[str, ...]
    """What nobody knows of what they learnt from, in words."""

    @property
    def swapped(self) -> Swapped:
        """How likely chance alone does so much."""
        assert self.comparison.swapped is not None  # noqa: S101 - for type checkers
        return self.comparison.swapped

    @property
    def sentence(self) -> str:
        """What follows, at the 5% level."""
        return self.comparison.pairs[0].says


def compare_versions(
    registry: Registry,
    version: str,
    against: str,
    *,
    data: Path | None = None,
    split: str = "test",
    counts: str | None = None,
    out: Path | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Compared:
    """Holds `version` against another one. `out`: a folder for the page, which shows photos if `data` has them.

    Raises:
        UsageError: there is no such version, or it is one and the same.
        DataError, ManifestError: `data` has no such photos; without it, both were never asked about the same ones; or
            too few are left.
        BundleError: a version must count photos, and its bundle is gone.
        StorageError: answers or page can't be written.
    """
    with registry.read() as connection:
        this, other = (version_of(connection, called) for called in (version, against))
    if this.id == other.id:
        raise UsageError(f"{this.name} is compared with itself.", hint="Name two versions.")
    settings = PromoteSettings.of({"split": split, "counts": counts, "seed": seed, "unseen": {"min_photos": LEAST}})
    photos, answers = _asked(registry, [this, other], data, split, progress)
    case = _case(registry, this, other, photos, answers, settings)
    if case.obstacle:
        raise DataError(f"{this.name} and {other.name} can't be compared: {case.obstacle}.", hint="Name other photos.")
    runs = [registry.bundle_of(each.bundle_sha256) for each in (this, other)]
    config = CompareConfig.of({"runs": runs, "out": out or "", "data": data, "seed": seed})
    entrants = [_entrant(registry, each) for each in (this, other)]
    found = _by_bins(comparison_of(entrants, [case.pair.candidate, case.pair.other], 1, config), case.pair, seed)
    if out is not None:
        write_comparison(found, config)
    return Compared(
        comparison=found if out is not None else msgspec.structs.replace(found, page=""),
        blind=_blind(case.pair, seed),
        split=split,
        data=None if data is None else str(data),
        left_out=photos.table.height - case.frozen.table.height,
        unknown=_unknown(case),
    )


def _by_bins(found: Comparison, pair: Pair, seed: int) -> Comparison:
    """The comparison, judged as gates judge."""
    p = {name: _p(by_bin(gains_n, pair.groups_n), seed) for name, gains_n in _gains(pair).items()}
    [told] = found.pairs
    told = msgspec.structs.replace(told, seen=p["accuracy"] <= LEVEL, says=_says(told, p, found.photos))
    swapped = Swapped(p=p, kinds=tuple(_kinds(pair, seed)))
    return msgspec.structs.replace(found, pairs=(told,), swapped=swapped)


def _says(pair: Compares, p: dict[str, float], photos: int) -> str:
    on = f"{photos:,} photos"
    seen = [_seen(name, pair.differences[name].value, each) for name, each in p.items() if each <= LEVEL]
    if seen:
        return f"{pair.label} {', '.join(seen[:-1])}{' and ' * (len(seen) > 1)}{seen[-1]} than {pair.against} on {on}."
    told = f"No difference between {pair.label} and {pair.against} is to be seen on {on}"
    return f"{told}; to see 2 points of accuracy takes some {pair.photos_needed:,}."


def _seen(name: str, difference: float, p: float) -> str:
    words, unit, more, less = _WORDS[name]
    return f"{words.format(amount=abs(unit * difference), more=more if difference > 0 else less)} (p {p_value(p)})"


def _asked(
    registry: Registry, both: list[Version], data: Path | None, split: str, progress: Progress
) -> tuple[Frozen, list[Answers]]:
    if data is not None:
        photos = frozen_photos(data, split)
        return photos, [answers_of(registry, each, photos, progress=progress) for each in both]
    kept = kept_answers(registry, both, split)
    if kept is None:
        raise DataError(
            f"{both[0].name} and {both[1].name} were never asked about the same photos of {split}.",
            hint="Name a data folder with --data: both count its photos.",
        )
    return kept


def _case(
    registry: Registry,
    this: Version,
    other: Version,
    photos: Frozen,
    answers: list[Answers],
    settings: PromoteSettings,
) -> Case:
    learnt = [seen(registry, each) for each in (this, other)]
    left = photos.without([each.photos for each in learnt])
    return Case(
        settings=settings,
        version=this,
        against=other,
        everything=photos,
        frozen=left,
        unknown=learnt[0].unknown,
        unknown_of_champion=learnt[1].unknown,
        answers=answers[0].of(left),
        answers_of_champion=answers[1].of(left),
        measure=lambda: Times(np.array([]), None),
    )


def _unknown(case: Case) -> tuple[str, ...]:
    mine = (f"of {case.version.name} it is not known {what}" for what in case.unknown)
    others = (
        (f"of {case.against.name} it is not known {what}" for what in case.unknown_of_champion) if case.against else ()
    )
    return (*mine, *others)


def _entrant(registry: Registry, version: Version) -> Entrant:
    recipe, training = version.lineage.get("recipe") or {}, version.lineage.get("training") or {}
    return Entrant(
        label=version.name,
        folder=str(registry.bundle_of(version.bundle_sha256)),
        kind="version",
        backbone=(recipe.get("network") or {}).get("backbone"),
        weights_mb=version.bundle_bytes / 1e6,
        epochs=training.get("epochs"),
        training_s=training.get("seconds"),
    )


def _gains(pair: Pair) -> dict[str, NDArray[np.float64]]:
    """How much better the version is on each photo, [N]."""
    values_k = values_of(pair.candidate)
    mine_n, others_n = (
        metrics.error_terms(told.probabilities_nk, told.labels_n, values_k) ** 2
        for told in (pair.candidate, pair.other)
    )
    return {"accuracy": pair.gains("accuracy"), "log_loss": pair.gains("log_loss"), "rmse": others_n - mine_n}


def _p(gains_g: NDArray[np.float64], seed: int) -> float:
    """Two-sided."""
    return min(1.0, 2 * min(sign_flip(sign * gains_g, seed=seed) for sign in (1.0, -1.0)))


def _blind(pair: Pair, seed: int) -> dict[str, Figure]:
    told, values_k = blind(pair.candidate), values_of(pair.candidate)
    return metrics.headline(told.probabilities_nk, told.labels_n, values_k, groups_n=told.groups_n, seed=seed)


def _kinds(pair: Pair, seed: int) -> Iterator[Kind]:
    gains_n, groups_n = pair.gains("accuracy"), pair.groups_n
    right_n, others_n = (
        metrics.correct_terms(told.probabilities_nk, told.labels_n) for told in (pair.candidate, pair.other)
    )
    found = [each for each in each_slice(pair) if len(each.chosen) >= LEAST and each.name != ALL]
    p_values = holm([_p(by_bin(gains_n[each.chosen], groups_n[each.chosen]), seed) for each in found])
    for each, p in zip(found, p_values, strict=True):
        yield Kind(
            name=each.name,
            photos=len(each.chosen),
            accuracy=float(right_n[each.chosen].mean()),
            against=float(others_n[each.chosen].mean()),
            difference=bootstrap_mean(gains_n[each.chosen], groups_n=groups_n[each.chosen], seed=seed),
            p=p,
        )
