"""Makes the acceptance file: right and wrong records of photos the model did not learn from, counted at each threshold.

Photos of one bin depend on each other, and the bounds take them for independent: so each bin gives one case, drawn by
the seed, with its right record and one wrong record drawn from the mix of errors.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bintally.bundle import find_bundle
from bintally.config import Config
from bintally.counting.counter import Counter
from bintally.errors import DataError
from bintally.inventory.policy import scores
from bintally.inventory.policy.acceptance import FILE, FORMAT, THRESHOLDS, TOLERANCES, Acceptance, Table
from bintally.inventory.policy.evidence import Evidence, Kind, gather
from bintally.inventory.policy.settings import ErrorMix, PolicySettings
from bintally.progress import SILENT, Progress

KINDS: Final = ("photo", "change", "followed")


class FitPolicyConfig(Config):
    """What to fit a policy's acceptance file to."""

    bundle: Path | str | None = Field(default=None, description="the bundle; None: the champion")
    data: Path = Field(description="the data folder")
    split: str = Field(default="val", description="photos that the model did not learn from")
    settings: Path | None = Field(default=None, description="the policy's settings, for its mix of errors")
    evidence: Path | None = Field(default=None, description="a table of evidence; made where it does not exist")
    out: Path | None = Field(default=None, description="the file; None: acceptance.json in the bundle")
    seed: int = Field(default=0, ge=0, description="of the drawn photos and errors")


def fit_policy(
    *,
    data: Path | str,
    bundle: Path | str | None = None,
    split: str = "val",
    settings: Path | str | None = None,
    evidence: Path | str | None = None,
    out: Path | str | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Acceptance:
    """Counts how often right and wrong records reach each threshold, and writes that beside the bundle's card.

    Raises:
        BundleError: no usable bundle.
        ManifestError, DataError: no usable photos, or a table of evidence of another model or split.
        ConfigError: a setting out of range.
    """
    values = {"bundle": bundle, "data": data, "split": split, "settings": settings, "evidence": evidence}
    config = FitPolicyConfig.of(values | {"out": out, "seed": seed})
    folder = find_bundle(config.bundle)
    mix = (PolicySettings.from_toml(config.settings) if config.settings else PolicySettings()).errors
    acceptance = fitted(known(folder, config.data, config.split, config.evidence, progress), mix, config.seed)
    acceptance.write(config.out or folder / FILE)
    return acceptance


def known(folder: Path, data: Path, split: str, kept: Path | None, progress: Progress) -> Evidence:
    """The cases of a bundle on a split: from the table `kept` if it exists, else counted (and kept there).

    Raises:
        DataError: the table is of another model or split.
    """
    counter = Counter(folder)
    if kept is None or not kept.is_file():
        found = gather(counter, data, split, progress)
        if kept is not None:
            found.write(kept)
        return found
    found = Evidence.read(kept)
    if (found.model_sha256, found.split) != (counter.card.model_sha256, split):
        raise DataError(
            f"{kept} is of {found.model!r} on split {found.split!r}, not of {counter.card.name!r} on {split!r}.",
            hint="Name another --evidence, or leave it out to count anew.",
        )
    return found


def fitted(evidence: Evidence, errors: ErrorMix, seed: int) -> Acceptance:
    """The acceptance file of all kinds of evidence there are.

    Raises:
        DataError: no case at all.
    """
    kinds = {name: of for name in KINDS if (of := evidence.of(name)) is not None}
    if not kinds:
        raise DataError("There is no case to fit to.", hint="Choose another --split.")
    return Acceptance(
        format=FORMAT,
        model=evidence.model,
        model_sha256=evidence.model_sha256,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        split=evidence.split,
        table_sha256=evidence.table_sha256,
        photos=evidence.photos,
        groups=evidence.cases["group"].n_unique(),
        seed=seed,
        errors=errors.model_dump(),
        thresholds=THRESHOLDS,
        tables=tuple(
            counted(name, of, errors, derived=derived, tolerance=tolerance, seed=seed)
            for name, of in kinds.items()
            for derived in (False, True)
            for tolerance in TOLERANCES
        ),
    )


def counted(name: str, of: Kind, errors: ErrorMix, *, derived: bool, tolerance: int, seed: int) -> Table:
    """Right and wrong records at or above each threshold, of one case a bin."""
    rng = np.random.default_rng(seed)
    cases = of.rows(one_of_each(of.group_n, rng))
    wrong_n = wrong_records(cases.recorded_n, errors, tolerance, rng)
    right, wrong = (
        acceptance_scores(cases, recorded_n, errors, derived=derived, tolerance=tolerance)
        for recorded_n in (cases.recorded_n, wrong_n)
    )
    reached = {"right": right, "wrong": wrong, "both": np.minimum(right, wrong)}
    counts = {part: tuple(int((of >= at).sum()) for at in THRESHOLDS) for part, of in reached.items()}
    return Table(kind=name, derived=derived, tolerance=tolerance, bins=len(cases), **counts)


def acceptance_scores(
    cases: Kind, recorded_n: NDArray[np.int64], errors: ErrorMix, *, derived: bool, tolerance: int
) -> scores.Floats:
    """[N] scores as the policy takes them: -inf where no score is accepted."""
    table = scores.weights(cases.keys, errors, tolerance)
    if derived:
        score_n = scores.photo_score_of(cases.probabilities_nk, cases.prior_nk, recorded_n, table)
    else:
        score_n = scores.score_of(cases.probabilities_nk, recorded_n, table)
    judged_n = scores.told_apart(cases.keys, recorded_n, table)
    return np.where(judged_n, score_n, -np.inf)


def one_of_each(group_n: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.intp]:
    """Rows, one drawn from each group."""
    order = rng.permutation(len(group_n))
    _, first = np.unique(group_n[order], return_index=True)
    return order[first]


def wrong_records(
    count_n: NDArray[np.int64], errors: ErrorMix, tolerance: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """[N] a wrong record of each count, drawn from the mix of errors."""
    shares_nr = wrong_shares(count_n, errors, tolerance)
    place_n = (rng.random(len(count_n))[:, None] > shares_nr.cumsum(axis=1)).sum(axis=1)
    made_n: NDArray[np.int64] = np.minimum(place_n, shares_nr.shape[1] - 1).astype(np.int64)
    return made_n


def wrong_shares(count_n: NDArray[np.int64], errors: ErrorMix, tolerance: int) -> scores.Floats:
    """[N, R] how often a wrong record of each count says each number."""
    records = max(scores.ANYTHING, int(count_n.max(initial=0)) + 3)
    shares_nr = scores.error_shares(count_n, errors, tolerance, records)
    beyond_nr = np.arange(records) > np.maximum(scores.ANYTHING - 1, count_n[:, None] + 2)
    shares_nr = np.where(beyond_nr, 0.0, shares_nr)
    scaled: Any = shares_nr / shares_nr.sum(axis=1, keepdims=True)
    return np.asarray(scaled, np.float64)
