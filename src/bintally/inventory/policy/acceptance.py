"""The acceptance file: how often right and wrong records of photos that nothing was learnt from reach each score.

It lies beside a bundle's card, a file of its own, so that a site makes it anew from its own confirmed counts without
exporting the model. It holds counts only; what they allow is worked out here, for any promise and any share of wrong
records. With F and T the shares of wrong and of right records at or above a threshold, and e the share of records that
are wrong, e F / (e F + (1 - e) T) of the accepted are: only F / T must be bounded. Each bin has a right and a wrong
record. Where the wrong one reaches the threshold the bin counts for F alone, so that of all bins that count the share
that counts for F is binomial, and F / (F + T) is no greater: Clopper and Pearson's upper bound (1934) is exact for it.
Bonferroni's correction over the thresholds makes all bounds of a table hold at once with the promised confidence, so
whichever threshold is then chosen, for whatever e and promise, keeps the promise: "Learn then Test" (Angelopoulos et
al. 2021). And since it is kept among the records of each e, it is kept among all of them.
"""

from pathlib import Path
from typing import Any, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from bintally.artifacts import write_text
from bintally.bundle import Card
from bintally.errors import BundleError
from bintally.inventory.policy.cases import KINDS
from bintally.inventory.policy.settings import ErrorMix

Floats = NDArray[np.float64]

FILE: Final = "acceptance.json"
FORMAT: Final = 1
THRESHOLDS: Final = (0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)
"""Scores, in nats, a record may have to reach. All are above 0: what is known must speak for it. Fixed before any photo
is looked at, as the bounds need."""

TOLERANCES: Final = (0, 1, 2)
"""Tolerances there are tables for, in items; nothing is accepted at others."""

_HINT: Final = "Make it anew with `bintally policy fit --bundle BUNDLE --data DATA`."


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many of so many bins, a photo each, have a right or a wrong record at or above each threshold."""

    kind: str  # what is known of the bin: "photo", "change" or "followed"
    derived: bool  # the record follows from the bin's history, so that only photos speak (`scores`)
    tolerance: int
    bins: int
    right: tuple[int, ...]
    wrong: tuple[int, ...]
    both: tuple[int, ...]  # bins of which the right and the wrong one would be accepted

    def __post_init__(self) -> None:
        if self.kind not in KINDS[1:]:
            raise ValueError(f"there is no evidence of the kind {self.kind!r}")
        rows = zip(self.right, self.wrong, self.both, strict=True)
        if not all(0 <= both <= min(right, wrong) and right + wrong - both <= self.bins for right, wrong, both in rows):
            raise ValueError("its counts contradict each other")
        if any(list(counts) != sorted(counts, reverse=True) for counts in (self.right, self.wrong, self.both)):
            raise ValueError("a higher threshold has more records than a lower one")

    def ratio(self, confidence: float) -> Floats:
        """Upper bounds of F / T at each threshold, all of which hold with this confidence; inf: it may be anything."""
        wrong, either = np.array(self.wrong), np.array(self.right) + np.array(self.wrong) - np.array(self.both)
        share = upper(wrong, either, (1.0 - confidence) / len(self.wrong))
        ratio: Floats = np.where(share < 1.0, share / np.where(share < 1.0, 1.0 - share, 1.0), np.inf)
        return ratio


class Acceptance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was counted once, on photos the model did not learn from."""

    format: int
    model: str
    model_sha256: str
    created: str  # ISO 8601, UTC
    split: str
    table_sha256: str  # of the photos' table
    photos: int
    groups: int
    seed: int
    errors: dict[str, float]  # the mix of errors that were made
    thresholds: tuple[float, ...]
    tables: tuple[Table, ...]

    def __post_init__(self) -> None:
        if any(
            len(counts) != len(self.thresholds)
            for table in self.tables
            for counts in (table.right, table.wrong, table.both)
        ):
            raise ValueError("a table has not one count a threshold")
        if list(self.thresholds) != sorted(set(self.thresholds)) or min(self.thresholds, default=1.0) <= 0.0:
            raise ValueError("its thresholds are not in order and above 0")

    @property
    def error_mix(self) -> ErrorMix:
        """The mix of errors as settings have it."""
        return ErrorMix.of(self.errors, where="the acceptance file's errors")

    def table(self, kind: str, *, derived: bool = False, tolerance: int = 0) -> Table | None:
        """What was counted for a kind of evidence; None: nothing."""
        wanted = (kind, derived, tolerance)
        return next((each for each in self.tables if (each.kind, each.derived, each.tolerance) == wanted), None)

    def write(self, path: Path) -> None:
        """As indented JSON, atomically."""
        write_text(path, msgspec.json.format(msgspec.json.encode(self), indent=1).decode() + "\n")

    @classmethod
    def read(cls, path: Path, card: Card) -> Self:
        """The file of the model that `card` speaks of.

        Raises:
            BundleError: no such file, damaged, of another version, or of another model.
        """
        try:
            found = msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            raise BundleError(f"There is no {path}, so no record can be accepted.", hint=_HINT) from None
        except (OSError, msgspec.DecodeError) as error:
            raise BundleError(f"{path} is no readable acceptance file: {error}.", hint=_HINT) from error
        if found.format != FORMAT:
            raise BundleError(f"{path} has format {found.format}; this bintally reads {FORMAT}.", hint=_HINT)
        if found.model_sha256 != card.model_sha256:
            raise BundleError(f"{path} was made for another model ({found.model!r}), not {card.name!r}.", hint=_HINT)
        return found

    @classmethod
    def of_bundle(cls, folder: Path, card: Card) -> Self | None:
        """The file that lies in a bundle's folder; None: it has none.

        Raises:
            BundleError: it is damaged, of another version, or of another model.
        """
        path = folder / FILE
        return cls.read(path, card) if path.is_file() else None


class Thresholds:
    """The lowest score that keeps a promise, for each share of wrong records: `of` one table."""

    def __init__(self, thresholds: tuple[float, ...], table: Table, confidence: float) -> None:
        self._thresholds = np.array([*thresholds, np.nan])
        # A lower threshold that fails may lie below one that holds, so the first of the falling minima counts.
        self._ratios = np.minimum.accumulate(table.ratio(confidence))

    def of(self, promised_n: NDArray[Any], wrong_n: NDArray[Any]) -> Floats:
        """[N] thresholds; nan: no score keeps the promise."""
        allowed_n = promised_n * (1.0 - wrong_n) / (wrong_n * (1.0 - promised_n))
        found: Floats = self._thresholds[np.searchsorted(-self._ratios, -allowed_n, side="left")]
        return found


def upper(seen: NDArray[Any], of: NDArray[Any], level: float) -> Floats:
    """Clopper-Pearson's upper bounds of shares, each exceeded with a chance of `level` at most; 1 of none."""
    rest = np.maximum(np.asarray(of, np.float64) - seen, 1.0)
    bound: Floats = np.where(np.asarray(seen) >= of, 1.0, betaincinv(np.asarray(seen) + 1.0, rest, 1.0 - level))
    return bound
