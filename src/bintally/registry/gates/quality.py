"""The gates about how often a version is right: better than the champion, and on no kind of photos much worse.

Shapes: N photos judged.
"""

import math
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from bintally.bundle import Figure
from bintally.counting.comparison import p_value
from bintally.counting.intervals import bootstrap_mean
from bintally.counting.paired import holm
from bintally.counting.slices import cut
from bintally.registry.gates.case import Case, Pair
from bintally.registry.gates.cost import cheaper
from bintally.registry.gates.non_inferiority import discordant, non_inferiority
from bintally.registry.gates.outcome import GateResult, Part
from bintally.registry.gates.settings import SlicesSettings
from bintally.registry.gates.sign_flip import by_bin, sign_flip

ALL: Final = "all photos"

_OTHER: Final = {"log_loss": "accuracy", "accuracy": "log_loss"}


def better(case: Case) -> GateResult:
    """Better than the champion (without one: than who never looks), or as good and cheaper."""
    if case.obstacle:
        return case.not_judged("better")
    settings, pair = case.settings.better, case.pair
    p, gain = _tested(pair, settings.metric, case.settings.seed)
    p_worse, loss = _tested(pair, _OTHER[settings.metric], case.settings.seed, worse=True)
    result = GateResult(
        gate="better",
        passed=p <= settings.level,
        reason=_gain(settings.metric, gain, pair, p, settings.level),
        figure=gain,
        limit=settings.level,
        p=p,
        photos=len(pair.candidate),
    )
    if not result.passed:
        result = _as_good_and_cheaper(case, result)
    if result.passed and p_worse <= settings.level:
        told = f"{result.reason} But it is worse in another way: {_amount(_OTHER[settings.metric], loss)}."
        result = msgspec.structs.replace(result, passed=False, reason=told)
    return result


def slices(case: Case) -> GateResult:
    """On no kind of photos is it right much less often than the champion."""
    if case.against is None:
        return GateResult(gate="slices", passed=True, reason="There is no champion to compare with.")
    if case.obstacle:
        return case.not_judged("slices")
    parts = judged_slices(case.pair, case.settings.slices, case.settings.seed)
    bad = [part for part in parts if not part.passed]
    worst = min(parts, key=lambda part: part.figure.value if part.figure else 0.0, default=None)
    large = sum(part.limit is not None for part in parts)
    good = f"Of {len(parts)} slices, {large} have enough photos and are as good; no other one is shown to be worse."
    return GateResult(
        gate="slices",
        passed=not bad,
        reason=f"{'; '.join(part.says for part in bad)}." if bad else good,
        figure=None if worst is None else worst.figure,
        limit=-case.settings.slices.margin,
        photos=len(case.pair.candidate),
        parts=tuple(sorted(parts, key=lambda part: part.passed)),
    )


class Sliced(NamedTuple):
    """Photos of one kind, by their places."""

    name: str
    chosen: NDArray[np.intp]


def judged_slices(pair: Pair, settings: SlicesSettings, seed: int) -> list[Part]:
    """All slices with `min_photos`: large ones must be shown not to be worse, small ones not be shown to be worse."""
    gains_n = pair.gains("accuracy")
    found = [each for each in each_slice(pair) if len(each.chosen) >= settings.min_photos]
    enough = photos_needed(float(np.abs(gains_n).mean()), settings)
    parts = [_large(each, gains_n, pair.groups_n, settings, seed) for each in found if len(each.chosen) >= enough]
    small = [each for each in found if len(each.chosen) < enough]
    p_values = holm([sign_flip(-_sums(each, gains_n, pair.groups_n), seed=seed) for each in small])
    return parts + [
        _small(each, p, gains_n, pair.groups_n, settings, seed) for each, p in zip(small, p_values, strict=True)
    ]


def photos_needed(differing: float, settings: SlicesSettings) -> int:
    """Photos at which models that are equally good, and differ on this share, are shown to be so `power` of times."""
    reach = float(norm.isf(settings.level) + norm.isf(1 - settings.power))
    return max(int(np.ceil(max(differing, settings.margin) * (reach / settings.margin) ** 2)), settings.min_photos)


def each_slice(pair: Pair) -> Iterator[Sliced]:
    """All photos, then those of each recorded count, brightness, size ..."""
    yield Sliced(ALL, np.arange(len(pair.candidate)))
    keys_n = np.array(pair.candidate.keys)[pair.candidate.labels_n].tolist()
    words, _ = cut(pair.table)
    for name, column in ({"recorded count": keys_n} | words).items():
        values_n = np.asarray(column)
        for value in sorted(set(column)):
            yield Sliced(f"{name} {value.partition('|')[2] or value}", np.flatnonzero(values_n == value))


def _large(
    each: Sliced, gains_n: NDArray[np.float64], groups_n: NDArray[Any], settings: SlicesSettings, seed: int
) -> Part:
    seen = discordant(gains_n[each.chosen], groups_n[each.chosen])
    p = non_inferiority(seen, settings.margin)
    figure = _interval(gains_n[each.chosen], groups_n[each.chosen], seed)
    passed = p <= settings.level
    points = f"{100 * settings.margin:g} points"
    word = "no" if passed else "not shown to be no"
    return Part(
        name=each.name,
        passed=passed,
        figure=figure,
        limit=-settings.margin,
        p=p,
        photos=len(each.chosen),
        says=f"{each.name}: {word} more than {points} less often right ({_points(figure)}; p {p_value(p)})",
    )


def _small(
    each: Sliced, p: float, gains_n: NDArray[np.float64], groups_n: NDArray[Any], settings: SlicesSettings, seed: int
) -> Part:
    figure = _interval(gains_n[each.chosen], groups_n[each.chosen], seed)
    passed = p > settings.level
    word = "not shown to be" if passed else "shown to be"
    return Part(
        name=each.name,
        passed=passed,
        figure=figure,
        p=p,
        photos=len(each.chosen),
        says=f"{each.name}: {word} less often right ({_points(figure)}; Holm-corrected p {p_value(p)})",
    )


def _sums(each: Sliced, gains_n: NDArray[np.float64], groups_n: NDArray[Any]) -> NDArray[np.float64]:
    return by_bin(gains_n[each.chosen], groups_n[each.chosen])


def _tested(pair: Pair, metric: str, seed: int, *, worse: bool = False) -> tuple[float, Figure]:
    """The p-value of "the candidate is better" (or worse), and by how much it is better, with its interval."""
    gains_n = pair.gains(metric)
    sums_g = by_bin(gains_n, pair.groups_n)
    return sign_flip(-sums_g if worse else sums_g, seed=seed), _interval(gains_n, pair.groups_n, seed)


def _interval(gains_n: NDArray[np.float64], groups_n: NDArray[Any], seed: int) -> Figure:
    return bootstrap_mean(gains_n, groups_n=groups_n, seed=seed)


def _as_good_and_cheaper(case: Case, result: GateResult) -> GateResult:
    """The result of one that is not better: passed, if it is as good and cheaper."""
    settings, pair = case.settings.better, case.pair
    if settings.cheaper is None or case.against is None:
        return result
    p = non_inferiority(discordant(pair.gains("accuracy"), pair.groups_n), settings.margin)
    points = f"{100 * settings.margin:g} points"
    if p > settings.level:
        told = f"nor is it shown to be right on at most {points} fewer photos (p {p_value(p)})"
        return msgspec.structs.replace(result, reason=f"{result.reason[:-1]}, {told}.")
    how = cheaper(case, settings.cheaper)
    told = f"it is right on at most {points} fewer photos (p {p_value(p)})"
    if how is None:
        return msgspec.structs.replace(result, reason=f"{result.reason} Though {told}, it is not cheaper.")
    return msgspec.structs.replace(result, passed=True, p=p, reason=f"{result.reason} But {told}, and it {how}.")


def _gain(metric: str, gain: Figure, pair: Pair, p: float, level: float) -> str:
    photos = f"{len(pair.candidate):,} photos of {len(np.unique(pair.groups_n)):,} bins"
    beside = f"beside {pair.other_name} on {photos}"
    if p <= level:
        return f"Better: {_amount(metric, gain)}, {beside} (p {p_value(p)})."
    return f"Not shown to be better: {_amount(metric, gain)}, {beside} (p {p_value(p)}, at most {level:g} is asked)."


def _amount(metric: str, gain: Figure) -> str:
    if metric == "accuracy":
        return f"right on {_points(gain)} {'more' if gain.value >= 0 else 'fewer'} photos"
    more = "lower" if gain.value >= 0 else "higher"
    low, high = sorted(math.copysign(1, gain.value) * end for end in (gain.low, gain.high))
    return f"log loss is {abs(gain.value):.4f} nats {more} ({low:.4f} to {high:.4f})"


def _points(gain: Figure) -> str:
    return f"{100 * gain.value:+.1f} points ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
