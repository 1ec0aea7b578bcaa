"""What pairs tell of a challenger beside a champion when nobody has counted.

How often they agree bounds how far apart their accuracies can be; which of them is right takes labels
(`shadow.confirmed`). Intervals are 95%; whole bins are drawn with all of their photos.
"""

from collections import Counter as Tally
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from bintally.bundle import Figure
from bintally.counting.intervals import bootstrap_mean, share
from bintally.records import key_of
from bintally.registry.gates.non_inferiority import design_effect
from bintally.registry.place import Registry
from bintally.registry.shadow.pairs import Kept, Pair, folder_of, read_pairs
from bintally.registry.versions import Version

NOT_TAKEN: Final = "-"
"""In place of a count: the photo is not taken for a bin, or could not be counted."""

Floats: TypeAlias = NDArray[np.float64]


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds of a photo's decoding and inference as it was: the challenger's on one core, at leisure."""

    p50_ms: float
    p95_ms: float


class ByCount(msgspec.Struct, frozen=True, kw_only=True):
    """Photos of which the champion told one count."""

    count: str
    photos: int
    agree: int
    challenger: dict[str, int]
    """How many photos it told each count of."""


class ShadowFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A challenger beside a champion on live photos.

    `agreement`: share of pairs with the same count, or that neither takes for a bin. Of pairs that both take for bins:
    `more`, how many items the challenger expects more than the champion; `distance` of the two distributions (total
    variation, 0 to 1); `sure`, how much more often the challenger is right if both are as right as they say.
    `as_recorded`: how much more often the challenger's count is the recorded one, where a record was given.
    """

    challenger: str
    champion: str
    pairs: int
    bins: int
    dropped: int  # photos that were to be paired, and came when there was no time
    torn: int  # lines that kills have torn
    failed: int  # pairs for which the challenger could not count
    since: datetime | None
    until: datetime | None
    agreement: Figure | None
    more: Figure | None
    distance: Figure | None
    sure: Figure | None
    as_recorded: Figure | None
    recorded: int  # pairs with a record
    not_taken: tuple[int, int]  # by challenger and champion
    by_count: tuple[ByCount, ...]
    latency: Latency | None
    champion_latency: Latency | None
    slower: float | None
    """Processor time of an inference as a multiple of the champion's, measured side by side; None: it was not."""

    @property
    def sentence(self) -> str:
        """The whole of it in one."""
        agreed = self.agreement
        if agreed is None:
            return f"{self.challenger} and {self.champion} have counted no live photo together."
        return (
            f"{self.challenger} agrees with {self.champion} on {agreed.value:.1%} ({agreed.low:.1%} to "
            f"{agreed.high:.1%}) of {self.pairs:,} live photos of {self.bins:,} bins, so that their accuracies are at "
            f"most {1 - agreed.low:.1%} apart."
        )


def shadow_figures(registry: Registry, version: Version, against: Version) -> ShadowFigures:
    """What the pairs of `version` beside `against` tell; no pairs are figures, too.

    Raises:
        StorageError: they can't be read.
    """
    kept = read_pairs(folder_of(registry.place, version.id, against.id))
    return figures_of(kept, challenger=version.name, champion=against.name)


def figures_of(kept: Kept, *, challenger: str, champion: str) -> ShadowFigures:
    """What pairs tell."""
    pairs, both = kept.pairs, [pair for pair in kept.pairs if _is_taken(pair)]
    with_record = [pair for pair in both if pair.recorded_count is not None]
    return ShadowFigures(
        challenger=challenger,
        champion=champion,
        pairs=len(pairs),
        bins=len({pair.group for pair in pairs}),
        dropped=kept.dropped,
        torn=kept.torn,
        failed=sum(pair.challenger.error is not None for pair in pairs),
        since=pairs[0].at if pairs else None,
        until=pairs[-1].at if pairs else None,
        agreement=agreement(pairs),
        more=_mean([_expected(pair) for pair in both], both),
        distance=_mean([_distance(pair) for pair in both], both),
        sure=_mean([_sure(pair) for pair in both], both),
        as_recorded=_mean([_as_recorded(pair) for pair in with_record], with_record),
        recorded=len(with_record),
        not_taken=(
            sum(pair.challenger.taken_for is None for pair in pairs),
            sum(pair.champion.taken_for is None for pair in pairs),
        ),
        by_count=_by_count(pairs),
        latency=_latency([pair.challenger.latency_ms for pair in pairs if pair.challenger.error is None]),
        champion_latency=_latency([pair.champion.latency_ms for pair in pairs]),
        slower=_slower(kept),
    )


def agreement(pairs: Sequence[Pair]) -> Figure | None:
    """The share of pairs that agree, with Wilson's interval for as many photos as bins leave independent of each other.

    The bootstrap would be sure of models that never differed yet.
    """
    if not pairs:
        return None
    agree_n = np.array([pair.challenger.taken_for == pair.champion.taken_for for pair in pairs], np.float64)
    value = float(agree_n.mean())
    rarer_n = agree_n if value < 0.5 else 1 - agree_n  # where all agree, the other has no variance to be measured
    effect = design_effect(rarer_n, np.array([pair.group for pair in pairs]))
    seen = share(round(float(agree_n.sum()) / effect), max(round(len(pairs) / effect), 1))
    return Figure(value, min(seen.low, value), max(seen.high, value))


def _is_taken(pair: Pair) -> bool:
    return pair.challenger.taken_for is not None and pair.champion.taken_for is not None


def _mean(terms: Sequence[float], pairs: Sequence[Pair]) -> Figure | None:
    if not pairs:
        return None
    return bootstrap_mean(np.array(terms, np.float64), groups_n=np.array([pair.group for pair in pairs]))


def _expected(pair: Pair) -> float:
    return (pair.challenger.expected_count or 0.0) - (pair.champion.expected_count or 0.0)


def _distance(pair: Pair) -> float:
    told, before = pair.challenger.probabilities, pair.champion.probabilities
    return 0.5 * sum(abs(told.get(key, 0.0) - before.get(key, 0.0)) for key in {**told, **before})


def _sure(pair: Pair) -> float:
    return max(pair.challenger.probabilities.values()) - max(pair.champion.probabilities.values())


def _as_recorded(pair: Pair) -> float:
    recorded = pair.recorded_count or 0
    told, before = (_is_count(each.taken_for, recorded) for each in (pair.challenger, pair.champion))
    return float(told) - float(before)


def _is_count(told: int | None, count: int) -> bool:
    return told is not None and key_of(told) == key_of(count)


def _by_count(pairs: Sequence[Pair]) -> tuple[ByCount, ...]:
    told: dict[str, Tally[str]] = {}
    for pair in pairs:
        told.setdefault(_name(pair.champion.taken_for), Tally())[_name(pair.challenger.taken_for)] += 1
    return tuple(
        ByCount(count=count, photos=tally.total(), agree=tally[count], challenger=dict(sorted(tally.items())))
        for count, tally in sorted(told.items())
    )


def _name(count: int | None) -> str:
    return NOT_TAKEN if count is None else str(count)


def _latency(milliseconds: Sequence[float]) -> Latency | None:
    if not milliseconds:
        return None
    p50, p95 = np.quantile(np.array(milliseconds, np.float64), [0.5, 0.95])
    return Latency(round(float(p50), 2), round(float(p95), 2))


def _slower(kept: Kept) -> float | None:
    """The median over processes; each has measured both when it began."""
    ratios: list[Any] = [
        begun.challenger_ms / begun.champion_ms for begun in kept.begun if begun.challenger_ms and begun.champion_ms
    ]
    return float(np.median(ratios)) if ratios else None
