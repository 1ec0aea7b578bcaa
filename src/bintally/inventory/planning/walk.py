"""The way through the aisles: an S, in at one end of an aisle and out at the other, and how long it is.

The S-shape heuristic (Hall 1993, Distance approximations for routing manual pickers in a warehouse): aisles in order,
each walked through in the direction opposite to the one before. Of both ways to begin, the shorter one is taken.
Distances are estimates: of a block with a cross aisle at either end where only codes are known, and at right angles
where there are x and y. Ways to the first bin and back from the last are not in them.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from bintally.inventory.planning.places import Place, natural
from bintally.inventory.planning.settings import WalkSettings


class Way(NamedTuple):
    """Bins in the order in which to go to them, and metres: as they were given, and in that order."""

    bins: tuple[str, ...]
    before_m: float
    after_m: float
    unplaced: int  # bins of which nobody knows where they are: last, without a distance


def way(bins: Sequence[str], places: Mapping[str, Place], settings: WalkSettings) -> Way:
    """The bins in walking order."""
    known = [code for code in bins if code in places]
    lost = sorted((code for code in bins if code not in places), key=lambda code: (natural(code), code))
    metres = _metres(known, places, settings)
    ways = [_serpentine(known, places, first_up=first_up) for first_up in (True, False)]
    lengths = [_length(each, metres) for each in ways]
    best = lengths.index(min(lengths))
    return Way((*ways[best], *lost), round(_length(known, metres), 1), round(lengths[best], 1), len(lost))


def _serpentine(bins: Sequence[str], places: Mapping[str, Place], *, first_up: bool) -> list[str]:
    def aisle(code: str) -> tuple[object, str]:
        return natural(places[code].aisle), places[code].aisle

    ordered: list[str] = []
    for turn, (_, inside) in enumerate(groupby(sorted(bins, key=aisle), key=aisle)):
        sign = 1 if (turn % 2 == 0) == first_up else -1
        ordered += sorted(inside, key=lambda code: (sign * places[code].position, places[code].level, code))
    return ordered


def _metres(bins: Sequence[str], places: Mapping[str, Place], settings: WalkSettings) -> Callable[[str, str], float]:
    """Metres between two bins."""
    if bins and all(places[code].xy is not None for code in bins):
        return lambda one, other: _at_right_angles(places[one].xy, places[other].xy)
    names = sorted({places[code].aisle for code in bins}, key=lambda name: (natural(name), name))
    at = {name: place for place, name in enumerate(names)}
    ends = [places[code].position for code in bins] or [0.0]
    near, far = min(ends), max(ends)

    def between(one: str, other: str) -> float:
        here, there = places[one], places[other]
        if here.aisle == there.aisle:
            return abs(here.position - there.position) * settings.bay_m
        by_near = here.position + there.position - 2 * near
        by_far = 2 * far - here.position - there.position
        across = abs(at[here.aisle] - at[there.aisle]) * settings.aisle_m
        return across + min(by_near, by_far) * settings.bay_m

    return between


def _at_right_angles(one: tuple[float, float] | None, other: tuple[float, float] | None) -> float:
    return 0.0 if one is None or other is None else abs(one[0] - other[0]) + abs(one[1] - other[1])


def _length(bins: Sequence[str], metres: Callable[[str, str], float]) -> float:
    return sum(metres(one, other) for one, other in pairwise(bins))
