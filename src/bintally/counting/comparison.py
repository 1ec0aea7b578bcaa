"""What a comparison of models found: frozen records that are `compare.json`, and each pair in a sentence."""

from typing import Final

import msgspec

from bintally.bundle import Figure
from bintally.counting.entrants import Entrant

FORMAT: Final = 1
LEVEL: Final = 0.05
POINTS: Final = 0.02
"""The difference in accuracy that one asks how many photos it takes to see."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One model held against another on the same photos; differences are the model's figure less the other's."""

    label: str
    against: str
    differences: dict[str, Figure]
    """accuracy, log_loss, rmse; the interval holds 95%."""
    only_this: int
    """Photos that only this one gets right."""
    only_other: int
    p_exact: float
    p_mid: float
    p_holm: float
    """The exact one, corrected for the number of pairs (Holm)."""
    seen: bool
    """The interval of accuracy leaves out 0, and `p_holm` is below 0.05."""
    photos_needed: int
    """To see 2 points of accuracy four times in five, were the models to disagree as often as here."""
    says: str


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """How often the two of a pair are right on one kind of photos; `p` is corrected for the number of kinds (Holm)."""

    name: str
    photos: int
    accuracy: float
    against: float
    difference: Figure
    p: float


class Swapped(msgspec.Struct, frozen=True, kw_only=True):
    """A pair tested by swapping both's answers on whole bins, which takes no photo of a bin as new: p, two-sided."""

    p: dict[str, float]
    """Of accuracy, log_loss and rmse."""
    kinds: tuple[Kind, ...]


class Disagreement(msgspec.Struct, frozen=True):
    """A photo on which answers lie far apart; `distance` is the largest total variation to the one held against."""

    bin_image_id: str
    recorded_count: int
    recorded_key: str
    distance: float
    probabilities: dict[str, tuple[float, ...]]
    """Label -> of each of `Comparison.keys`."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison found."""

    format: int
    against: str
    keys: tuple[str, ...]
    photos: int
    bins: int
    seed: int
    resamples: int
    entrants: tuple[Entrant, ...]
    pairs: tuple[Pair, ...]
    disagreements: tuple[Disagreement, ...]
    page: str
    swapped: Swapped | None = None
    """Of the only pair, where it was asked for; its `says` and `seen` go by that test then."""


def apart(difference: Figure) -> bool:
    """Whether 0 lies outside a difference's interval."""
    return difference.low > 0 or difference.high < 0


def sentence(pair: Pair, photos: int, *, several: bool) -> str:
    """What `pair` says in words; `several`: its p-value was corrected for being one of several."""
    accuracy = pair.differences["accuracy"]
    if pair.seen:
        told = "Holm-corrected p" if several else "McNemar p"
        more = "more" if accuracy.value > 0 else "fewer"
        words = (
            f"{pair.label} is right on {abs(100 * accuracy.value):.1f} points {more} photos than {pair.against} "
            f"({_range(accuracy, 100, '.1f')}; {told} {p_value(pair.p_holm)})."
        )
    elif photos >= pair.photos_needed:
        words = (
            f"No difference in accuracy to be seen between {pair.label} and {pair.against} at {photos:,} photos, "
            "where one of 2 points would likely have shown."
        )
    else:
        words = (
            f"No difference in accuracy to be seen between {pair.label} and {pair.against} at {photos:,} photos: "
            f"to see 2 points takes about {_rounded(pair.photos_needed):,}."
        )
    beside = [
        f"{name} is {abs(pair.differences[figure].value):.3f} "
        f"{'lower' if pair.differences[figure].value < 0 else 'higher'} ({_range(pair.differences[figure], 1, '.3f')})"
        for figure, name in (("log_loss", "log loss"), ("rmse", "RMSE"))
        if apart(pair.differences[figure])
    ]
    return f"{words} Its {' and its '.join(beside)}." if beside else words


def p_value(p: float) -> str:
    """0.0312 as "= 0.031"; what is smaller than 0.001 as "< 0.001"."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def _range(difference: Figure, unit: float, digits: str) -> str:
    ends = sorted(abs(unit * end) for end in (difference.low, difference.high))
    return f"{ends[0]:{digits}} to {ends[1]:{digits}}"


def _rounded(photos: int) -> int:
    """Two digits: more would be no better known."""
    scale = int(10 ** max(len(str(photos)) - 2, 0))
    return round(photos / scale) * scale
