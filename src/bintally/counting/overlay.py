"""Where the model looks: what it would say of a photo if a part of it could not be seen (occlusion sensitivity).

Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks" (arXiv:1311.2901), section 4.2. It needs no
gradients, which a graph made for inference does not have: each tile is painted over in turn, and the drop of the
count's probability is how much that tile speaks for the count.

Shapes: pixels_hwc uint8 [H, W, 3], RGB, of the model's size; drops [GRID, GRID], row by row from the top left.
"""

import io
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bintally.counting.counter import Counter

GRID: Final = 8
"""Tiles each way."""

COARSE: Final = 4
"""Blocks of tiles each way, which are looked at first."""

REFINED: Final = 6
"""Blocks, those that matter most, whose tiles are looked at one by one."""

LONGEST_PX: Final = 800
_AT_ONCE: Final = 4  # copies in one inference: those who want a count get their turn in between
_FAINTEST: Final = 0.05  # a drop this small is no strong colour, even where it is the largest
_OPAQUE: Final = 0.75
_FOR, _AGAINST = (217, 130, 43), (47, 111, 143)  # `pages.ACCENT` and `pages.SECOND`

_Area: TypeAlias = tuple[slice, slice]  # rows and columns of pixels


class Overlay(msgspec.Struct, frozen=True, kw_only=True):
    """How much each tile of a photo speaks for a count, by how far its probability drops without the tile.

    Below 0 a tile speaks against it. Tiles of blocks that hardly matter have a share of their block's drop.
    """

    key: str  # the count, as `probabilities` name it
    probability: float  # with nothing painted over
    drops: tuple[tuple[float, ...], ...]
    model: str


def look(counter: Counter, pixels_hwc: NDArray[np.uint8], *, go_on: Callable[[], None] = lambda: None) -> Overlay:
    """Where `counter` looks when it takes the photo for its most probable count; 41 inferences.

    `go_on` is called between inferences and may raise to end it.
    """
    told_k = counter.distribution(pixels_hwc[None])[0][0]
    best = int(told_k.argmax())

    def drops_of(areas: Sequence[_Area]) -> NDArray[np.float64]:
        found: list[float] = []
        for start in range(0, len(areas), _AT_ONCE):
            go_on()
            copies_nhwc = np.stack([_without(pixels_hwc, area) for area in areas[start : start + _AT_ONCE]])
            found += (told_k[best] - counter.distribution(copies_nhwc)[0][:, best]).tolist()
        return np.array(found)

    drops = _refined(pixels_hwc.shape[:2], drops_of)
    return Overlay(
        key=counter.keys[best],
        probability=round(float(told_k[best]), 4),
        drops=tuple(tuple(round(drop, 4) for drop in row) for row in drops.tolist()),
        model=counter.card.name,
    )


def _refined(
    size_hw: tuple[int, ...], drops_of: Callable[[Sequence[_Area]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Drops [GRID, GRID]: those of the blocks, and where they are largest those of the tiles."""
    each = GRID // COARSE
    blocks = [(row, column) for row in range(COARSE) for column in range(COARSE)]
    coarse = drops_of([_area(size_hw, row, column, COARSE) for row, column in blocks])
    drops = np.kron(coarse.reshape(COARSE, COARSE), np.full((each, each), 1 / each**2))
    chosen = [blocks[place] for place in np.argsort(-np.abs(coarse), kind="stable")[:REFINED]]
    tiles = [
        (each * row + down, each * column + right)
        for row, column in chosen
        for down in range(each)
        for right in range(each)
    ]
    rows, columns = zip(*tiles, strict=True)
    drops[list(rows), list(columns)] = drops_of([_area(size_hw, row, column, GRID) for row, column in tiles])
    return drops


def _area(size_hw: tuple[int, ...], row: int, column: int, cells: int) -> _Area:
    (top, bottom), (left, right) = (
        (size * place // cells, size * (place + 1) // cells) for size, place in zip(size_hw, (row, column), strict=True)
    )
    return slice(top, bottom), slice(left, right)


def _without(pixels_hwc: NDArray[np.uint8], area: _Area) -> NDArray[np.uint8]:
    """A copy whose `area` has the photo's mean colour, the least telling one."""
    copy = pixels_hwc.copy()
    copy[area] = pixels_hwc.mean(axis=(0, 1)).round()
    return copy


def painted(photo: Image.Image, overlay: Overlay) -> bytes:
    """The photo in grey as a PNG, coloured where it speaks for the count (orange) or against it (blue)."""
    grey = photo.convert("L")
    grey.thumbnail((LONGEST_PX, LONGEST_PX))
    drops = np.array(overlay.drops, np.float32)
    smooth_hw = np.asarray(Image.fromarray(drops).resize(grey.size, Image.Resampling.BICUBIC))
    strength_hw = smooth_hw / max(float(np.abs(drops).max()), _FAINTEST)
    weight_hw1 = _OPAQUE * np.clip(np.abs(strength_hw), 0, 1)[..., None]
    colour_hwc = np.where(strength_hw[..., None] > 0, np.array(_FOR), np.array(_AGAINST))
    mixed_hwc = (1 - weight_hw1) * np.asarray(grey, np.float32)[..., None] + weight_hw1 * colour_hwc
    file = io.BytesIO()
    Image.fromarray(mixed_hwc.round().astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
