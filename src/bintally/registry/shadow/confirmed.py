"""What pairs tell where somebody counted: which of two models is right more often, by tests that gates use, too.

Bins are the units: photos of one bin are swapped and drawn together. Who counted may have looked at mismatches first;
then this is about such photos, not about all.
"""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from bintally.artifacts import storage_errors
from bintally.bundle import Figure
from bintally.counting.intervals import bootstrap_mean
from bintally.errors import DataError, UsageError, did_you_mean
from bintally.records import COUNT_KEYS, key_of
from bintally.registry.gates.non_inferiority import discordant, non_inferiority
from bintally.registry.gates.sign_flip import by_bin, sign_flip
from bintally.registry.shadow.pairs import Pair, Told

NAMES: Final = ("photo_sha256", "request_id", "bin_image_id")
"""What a confirmed count may go by, the surest first."""

COUNTS: Final = ("count", "confirmed_count")
MARGIN: Final = 0.02
"""As good: right less often by this share of photos, at most."""

_LEAST: Final = 1e-6  # probabilities are kept with so many digits


class ConfirmedFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A challenger beside a champion on photos whose count somebody confirmed; differences are challenger - champion.

    `p_better`, `p_worse`: one-sided, of log loss, by swapping whole bins. `p_margin`: of "the challenger is right less
    often by `margin` or more".
    """

    photos: int
    bins: int
    accuracy: Figure | None
    champion_accuracy: Figure | None
    difference: Figure | None
    log_loss: Figure | None
    """Difference, in nats: below 0 the challenger is better."""
    only_challenger: int  # is right
    only_champion: int
    p_better: float
    p_worse: float
    p_margin: float
    margin: float

    @property
    def sentence(self) -> str:
        """What follows, at the 5% level."""
        if not self.photos:
            return "No pair has a confirmed count."
        if self.p_better <= 0.05:
            return "The challenger is better: its log loss is lower than chance explains."
        if self.p_worse <= 0.05:
            return "The challenger is worse: its log loss is higher than chance explains."
        if self.p_margin <= 0.05:
            return f"The challenger is right less often by less than {self.margin:.0%} of the photos."
        return "Neither is shown to be better: more counts would tell."


def confirmed_figures(pairs: Iterable[Pair], counts: Mapping[str, int], *, margin: float = MARGIN) -> ConfirmedFigures:
    """Holds pairs against confirmed counts, which go by any of `NAMES`; a photo that came again counts once."""
    by_photo: dict[str, tuple[Pair, int]] = {}
    for pair in pairs:
        count = next((counts[name] for name in _names(pair) if name in counts), None)
        if count is not None and pair.challenger.error is None and _asked(pair, count):
            by_photo[pair.photo_sha256] = pair, count
    labelled = list(by_photo.values())
    groups_n = np.array([pair.group for pair, _ in labelled], np.str_)
    right_n, right_before_n = (
        np.array([_is_right(getattr(pair, which), count) for pair, count in labelled], np.float64)
        for which in ("challenger", "champion")
    )
    lost_n = np.array([_loss(pair.challenger, count) - _loss(pair.champion, count) for pair, count in labelled])
    seen = discordant(right_n - right_before_n, groups_n) if labelled else None
    return ConfirmedFigures(
        photos=len(labelled),
        bins=len(set(groups_n.tolist())),
        accuracy=_mean(right_n, groups_n),
        champion_accuracy=_mean(right_before_n, groups_n),
        difference=_mean(right_n - right_before_n, groups_n),
        log_loss=_mean(lost_n, groups_n),
        only_challenger=int((right_n > right_before_n).sum()),
        only_champion=int((right_n < right_before_n).sum()),
        p_better=_p(-lost_n, groups_n),
        p_worse=_p(lost_n, groups_n),
        p_margin=1.0 if seen is None else non_inferiority(seen, margin),
        margin=margin,
    )


def read_confirmed(path: Path) -> dict[str, int]:
    """Confirmed counts of a CSV or JSON lines file with a column `count` and one or more of `NAMES`.

    Other columns, and rows without a count, are left out.

    Raises:
        UsageError: there is no such file, or it lacks these columns.
        DataError: a count is none.
        StorageError: it can't be read.
    """
    if not path.is_file():
        raise UsageError(f"There is no file {path}.", hint="Name a CSV file with the columns photo_sha256 and count.")
    found: dict[str, int] = {}
    with storage_errors(path):
        rows = list(_rows(path))
    for number, row in enumerate(rows, 1):
        count = _count(path, number, row)
        if count is not None:
            found.update({str(row[name]): count for name in NAMES if row.get(name)})
    return found


def _rows(path: Path) -> Iterable[Mapping[str, Any]]:
    try:
        if path.suffix in (".jsonl", ".ndjson"):
            lines = path.read_bytes().splitlines()
            return [msgspec.json.decode(line, type=dict[str, Any]) for line in lines if line.strip()]
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (msgspec.DecodeError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read: {error}.", hint="It should be CSV in UTF-8, or JSON lines.") from None
    if rows and not (any(name in rows[0] for name in NAMES) and any(name in rows[0] for name in COUNTS)):
        raise UsageError(
            f"{path} has no columns of confirmed counts: {', '.join(filter(None, rows[0]))}.",
            hint=f"It needs count, and one of {', '.join(NAMES)}. {did_you_mean(next(iter(rows[0]), ''), NAMES)}",
        )
    return rows


def _count(path: Path, number: int, row: Mapping[str, Any]) -> int | None:
    told = next((row[name] for name in COUNTS if row.get(name) not in (None, "")), None)
    try:
        count = None if told is None else int(str(told))
    except ValueError:
        raise DataError(f"{path}, row {number}: {told!r} is no count.", hint="Write it as 4.") from None
    if count is not None and count < 0:
        raise DataError(f"{path}, row {number}: {count} is no count.", hint="Counts are 0 or more.")
    return count


def _names(pair: Pair) -> tuple[str, ...]:
    return tuple(filter(None, (getattr(pair, name) for name in NAMES)))


def _key(told: Told, count: int) -> str:
    return key_of(count, tuple(told.probabilities) or COUNT_KEYS)


def _asked(pair: Pair, count: int) -> bool:
    """Whether the count is among those that both were asked for."""
    return all(_key(told, count) in told.probabilities for told in (pair.challenger, pair.champion))


def _is_right(told: Told, count: int) -> bool:
    keys = tuple(told.probabilities)
    return told.count is not None and key_of(told.count, keys) == key_of(count, keys)


def _loss(told: Told, count: int) -> float:
    """Log loss in nats."""
    return -float(np.log(max(told.probabilities[_key(told, count)], _LEAST)))


def _mean(terms_n: NDArray[np.float64], groups_n: NDArray[Any]) -> Figure | None:
    return bootstrap_mean(terms_n, groups_n=groups_n) if len(terms_n) else None


def _p(gains_n: NDArray[np.float64], groups_n: NDArray[Any]) -> float:
    return sign_flip(by_bin(gains_n, groups_n)) if len(gains_n) else 1.0
