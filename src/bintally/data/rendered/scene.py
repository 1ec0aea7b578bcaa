"""What is in a bin, where each item stands, and how that changes from one photo to the next.

Lengths are pixels of the canvas unless a name says inches. `y` grows downwards; `depth` runs from 0 (back wall) to 1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from bintally.data.rendered.settings import RenderSettings
from bintally.data.rendered.wares import Ware, make_ware

Rng = np.random.Generator

FAR_SCALE: Final = 0.78
"""Size of an item at the back wall, as a share of its size at the front."""

_GRID_PX: Final = 6  # cells of the grid on which hiding is planned
_TRIES: Final = 8  # places tried for an item before the least bad one is taken
_RESTARTS: Final = 5  # fresh starts for a bin in which something is still hidden
_PLANNING_MARGIN: Final = 0.08  # rectangles on a grid see a little more than pixels do
_LENGTH, _CELL, _TIME = range(3)


def rng_of(*path: int) -> Rng:
    """The random numbers that belong to `path`, e.g. (seed, bin, time), and to nothing else."""
    return np.random.default_rng(
        np.random.SeedSequence((len(path), *path))
    )  # the length, since (1, 2) seeds like (1, 2, 0)


def pick(rng: Rng, weights: Sequence[float]) -> int:
    """An index, as often as its weight says."""
    edges = np.cumsum(weights)
    return int(min(np.searchsorted(edges, rng.random() * edges[-1], side="right"), len(edges) - 1))


@dataclass(frozen=True, slots=True)
class Cell:
    """An empty cell of a pod, as the camera sees it; the same at all times. `opening` is (left, top, right, bottom)."""

    width_px: int
    height_px: int
    margin_px: int
    opening: tuple[float, float, float, float]
    floor_px: float
    inset_px: float
    px_per_inch: float
    look: int

    def sides_at(self, depth: float) -> tuple[float, float]:
        """Left and right wall at a depth."""
        left, _, right, _ = self.opening
        return left + self.inset_px * (1 - depth), right - self.inset_px * (1 - depth)

    def floor_at(self, depth: float) -> float:
        """Height of the floor at a depth."""
        return self.opening[3] - self.floor_px * (1 - depth)


@dataclass(frozen=True, slots=True)
class Item:
    """One unit of a ware in a pose of its own. `key` stays the same for as long as it is in the bin."""

    key: int
    ware: int
    width_px: float
    height_px: float
    turned: int  # quarter turns of the face


@dataclass(frozen=True, slots=True)
class Placed:
    """An item at its place: `x` is its middle, `base` the y of its lowest point; sizes are scaled by its depth."""

    item: Item
    x: float
    base: float
    depth: float
    tilt_deg: float
    on: int | None = None  # key of the item it stands on

    @property
    def scale(self) -> float:
        """Size at this depth, as a share of the size at the front."""
        return FAR_SCALE + (1 - FAR_SCALE) * self.depth

    @property
    def box(self) -> tuple[float, float, float, float]:
        """left, top, right, bottom of the tilted item."""
        angle = np.deg2rad(self.tilt_deg)
        wide, high = self.item.width_px * self.scale, self.item.height_px * self.scale
        width = wide * abs(np.cos(angle)) + high * abs(np.sin(angle))
        height = wide * abs(np.sin(angle)) + high * abs(np.cos(angle))
        return self.x - width / 2, self.base - height, self.x + width / 2, self.base

    @property
    def seat(self) -> float:
        """Height at which another item stands on it: not on the front edge of its top, but further in."""
        _, top, _, bottom = self.box
        return top + 0.04 * (bottom - top)


@dataclass(frozen=True, slots=True)
class Moment:
    """A bin at one time: everything the camera sees, back to front."""

    index: int
    time: int
    cell: Cell
    wares: tuple[Ware, ...]
    placed: tuple[Placed, ...]

    @property
    def count(self) -> int:
        """How many items are truly there."""
        return len(self.placed)


def photo_count(index: int, *, seed: int, settings: RenderSettings) -> int:
    """How many times bin `index` is photographed."""
    return 1 + pick(rng_of(seed, index, _LENGTH), settings.photos_per_bin_weights)


def timeline(
    index: int, *, seed: int, settings: RenderSettings, counts: Sequence[int] | None = None
) -> Iterator[Moment]:
    """Bin `index` at each of its times, holding `counts` items if given."""
    cell = make_cell(rng_of(seed, index, _CELL), settings)
    times = len(counts) if counts is not None else photo_count(index, seed=seed, settings=settings)
    wares: list[Ware] = []
    items: list[Item] = []
    placed: tuple[Placed, ...] = ()
    for time in range(times):
        rng = rng_of(seed, index, _TIME, time)
        count = counts[time] if counts is not None else _next_count(len(items) if time else None, rng, settings)
        items = _touch(items, count, wares, cell, rng, settings)
        moved = rng.random() < settings.rearranged_rate
        placed = arrange(items, () if moved else placed, cell, rng, settings)
        yield Moment(index, time, cell, tuple(wares), placed)


def make_cell(rng: Rng, settings: RenderSettings) -> Cell:
    """A cell of its own size, aspect and look."""
    aspect = float(np.exp(rng.uniform(*np.log(settings.aspect))))
    short = int(rng.integers(settings.short_side_px[0], settings.short_side_px[1] + 1))
    width, height = (round(short * aspect), short) if aspect >= 1 else (short, round(short / aspect))
    margin = round(settings.shift * width)
    left, right = (margin + width * rng.uniform(-0.02, 0.04) for _ in range(2))
    top, bottom = margin + height * rng.uniform(-0.01, 0.13), margin + height * rng.uniform(0.04, 0.17)
    opening = (left, top, width + 2 * margin - right, height + 2 * margin - bottom)
    inches = rng.uniform(9, 17)  # ABID's cells are about that wide; half of them are wider than high
    return Cell(
        width_px=width,
        height_px=height,
        margin_px=margin,
        opening=opening,
        floor_px=(opening[3] - opening[1]) * rng.uniform(0.08, 0.2),
        inset_px=width * rng.uniform(0.02, 0.08),
        px_per_inch=(opening[2] - opening[0]) / inches,
        look=int(rng.integers(2**31)),
    )


def _next_count(before: int | None, rng: Rng, settings: RenderSettings) -> int:
    if before is None:
        return pick(rng, settings.count_weights)
    steps = {step: weight for step, weight in settings.step_weights.items() if 0 <= before + step <= settings.max_count}
    if not sum(steps.values()) > 0:
        return before
    return before + list(steps)[pick(rng, list(steps.values()))]


def _touch(
    items: list[Item], count: int, wares: list[Ware], cell: Cell, rng: Rng, settings: RenderSettings
) -> list[Item]:
    """`items` after a pick or a stow that leaves `count` of them; adds to `wares` what the bin had not held before."""
    items = list(items)
    while len(items) > count:
        items.pop(int(rng.integers(len(items))))
    first_key = 1 + max((item.key for item in items), default=-1)
    for key in range(first_key, first_key + count - len(items)):
        if not items or rng.random() < settings.new_product_rate:
            wares.append(make_ware(rng, cell_inches=_inches(cell), size=settings.item_size))
            ware = len(wares) - 1
        else:
            ware = items[int(rng.integers(len(items)))].ware
        items.append(_pose(key, ware, wares[ware], cell, rng))
    return items


def _inches(cell: Cell) -> tuple[float, float]:
    left, top, right, bottom = cell.opening
    return (right - left) / cell.px_per_inch, (bottom - top - cell.floor_px / 2) / cell.px_per_inch


def _pose(key: int, number: int, ware: Ware, cell: Cell, rng: Rng) -> Item:
    wide, high = ware.face_inches
    room_wide, room_high = _inches(cell)
    turned = (
        int(rng.integers(2)) if wide < 0.8 * room_high and high < 0.8 * room_wide and rng.random() < ware.turning else 0
    )
    if turned:
        wide, high = high, wide
    swell = rng.uniform(0.94, 1.06)  # no two bags are creased alike, no box is quite square to the camera
    return Item(key, number, wide * cell.px_per_inch * swell, high * cell.px_per_inch / swell, turned)


def arrange(
    items: Sequence[Item], before: Sequence[Placed], cell: Cell, rng: Rng, settings: RenderSettings
) -> tuple[Placed, ...]:
    """A place for each item, back to front: near its place `before` where that hides nothing too much.

    A full bin may take a few starts; where none will do, the one that hides least stands.
    """
    enough = settings.min_visible_share + _PLANNING_MARGIN
    best, best_share = _start(items, before, cell, rng, settings, enough)
    for _ in range(_RESTARTS):
        if best_share >= enough:
            break
        places, share = _start(items, (), cell, rng, settings, enough)
        if share > best_share:
            best, best_share = places, share
    return tuple(sorted(best, key=lambda place: place.depth))


def _start(
    items: Sequence[Item], before: Sequence[Placed], cell: Cell, rng: Rng, settings: RenderSettings, enough: float
) -> tuple[list[Placed], float]:
    """Places for `items`, one after the other, and the visible part of the most hidden one."""
    old = {place.item.key: place for place in before}
    done: list[Placed] = []
    lowest = 1.0
    for item in sorted(items, key=lambda item: (item.key not in old, old[item.key].depth if item.key in old else 0)):
        choices = []
        for attempt in range(_TRIES):
            stays = attempt == 0 and item.key in old
            place = _settle(old[item.key], done, cell, rng) if stays else _propose(item, done, cell, rng, settings)
            choices.append((least_visible([*done, place], cell), place))
            if choices[-1][0] >= enough:
                break
        lowest, place = max(choices, key=lambda choice: choice[0])
        done.append(place)
    return done, lowest


def _settle(place: Placed, done: Sequence[Placed], cell: Cell, rng: Rng) -> Placed:
    """Where an item is found again: shifted a little, and down on the floor if what it stood on is gone."""
    x = place.x + rng.normal(0, 0.012) * cell.width_px
    tilt = place.tilt_deg + rng.normal(0, 1.0)
    under = next((other for other in done if other.item.key == place.on), None)
    if under is None:
        return replace(place, x=x, base=cell.floor_at(place.depth), tilt_deg=tilt, on=None)
    return replace(place, x=x, base=under.seat, depth=under.depth + 1e-4, tilt_deg=tilt)


def _propose(item: Item, done: Sequence[Placed], cell: Cell, rng: Rng, settings: RenderSettings) -> Placed:
    tilt = rng.normal(0, 1.5)
    if done and rng.random() < settings.stacked_rate:
        under = done[int(rng.integers(len(done)))]
        left, _, right, _ = under.box
        x = under.x + rng.normal(0, 0.1) * (right - left)
        place = Placed(item, x, under.seat, under.depth + 1e-4, tilt, under.item.key)
        steady = abs(under.tilt_deg) < 6 and item.width_px * place.scale < 1.5 * (right - left)
        if steady and place.box[1] > cell.opening[1] - 0.05 * cell.height_px and _inside(place, cell):
            return place
    if rng.random() < settings.leaning_rate:
        tilt = rng.choice((-1, 1)) * rng.uniform(5, 22)
    depth = float(rng.random())
    place = Placed(item, 0, cell.floor_at(depth), depth, tilt)
    left, right = cell.sides_at(depth)
    half = (place.box[2] - place.box[0]) / 2
    return replace(place, x=rng.uniform(left + half, right - half) if right - left > 2 * half else (left + right) / 2)


def _inside(place: Placed, cell: Cell) -> bool:
    left, right = cell.sides_at(place.depth)
    return place.box[0] >= left - 4 and place.box[2] <= right + 4


def least_visible(placed: Sequence[Placed], cell: Cell) -> float:
    """Visible part of the most hidden item, were all of them rectangles."""
    left, top, right, bottom = cell.opening
    grid = np.zeros((int(bottom - top) // _GRID_PX + 1, int(right - left) // _GRID_PX + 1), np.int64)
    areas = []
    for number, place in enumerate(sorted(placed, key=lambda place: place.depth)):
        x0, y0, x1, y1 = place.box
        columns = slice(max(0, round((x0 - left) / _GRID_PX)), max(0, round((x1 - left) / _GRID_PX)))
        rows = slice(max(0, round((y0 - top) / _GRID_PX)), max(0, round((y1 - top) / _GRID_PX)))
        grid[rows, columns] = number + 1
        areas.append(max(1.0, (x1 - x0) * (y1 - y0) / _GRID_PX**2))
    seen = np.bincount(grid.ravel(), minlength=len(areas) + 1)[1:]
    return float(np.min(seen / np.array(areas)))
