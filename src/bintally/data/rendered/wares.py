"""Products that do not exist: what they are called, how large and heavy they are, which colours they come in."""

from dataclasses import dataclass
from typing import Final

import numpy as np

Rng = np.random.Generator
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Ware:
    """One product. `face_inches` is (width, height) of the side that a camera sees when it stands upright."""

    asin: str
    name: str
    kind: str
    face_inches: tuple[float, float]
    thick_inches: float
    weight_lb: float
    colours: tuple[Colour, Colour, Colour]
    look: int

    @property
    def turning(self) -> float:
        """How often it lies on its side."""
        return _KINDS[self.kind].turning


@dataclass(frozen=True, slots=True)
class _Kind:
    weight: float  # how often
    shape: tuple[float, float]  # range of width / height, natural logarithm
    thick: tuple[float, float]  # depth, as a share of the face's shorter side
    turning: float
    density: float  # pounds a cubic inch, about
    nouns: tuple[str, ...]


_KINDS: Final[dict[str, _Kind]] = {
    "box": _Kind(0.4, (-0.7, 0.7), (0.3, 1.0), 0.3, 0.015,
                 ("Desk Lamp", "Water Filter", "Board Game", "Headphones", "Toy Train", "Phone Case", "Tea Sampler")),
    "book": _Kind(0.18, (-1.9, -1.1), (0.8, 1.0), 0.6, 0.025,
                  ("Atlas", "Cookbook", "Field Guide", "Novel", "Workbook", "Songbook", "Anthology", "Dictionary")),
    "bag": _Kind(0.24, (-0.5, 0.6), (0.2, 0.5), 0.5, 0.008,
                 ("T-Shirt", "Cable Set", "Curtain", "Dog Treats", "Wool Socks", "Sponges", "Craft Foam")),
    "bottle": _Kind(0.18, (-1.2, -0.5), (0.9, 1.0), 0.15, 0.03,
                    ("Shampoo", "Vitamins", "Olive Oil", "Hand Soap", "Glass Cleaner", "Body Lotion", "Maple Syrup")),
}  # fmt: skip
_MAKERS: Final = (
    "Alder",
    "Birch & Co",
    "Corvin",
    "Dunmore",
    "Elmet",
    "Fenwick",
    "Gorse",
    "Hollin",
    "Ivory Lane",
    "Juniper",
)
_TRAITS: Final = (
    "Classic",
    "Compact",
    "Deluxe",
    "Everyday",
    "Family",
    "Foldable",
    "Gentle",
    "Large",
    "Organic",
    "Travel",
)
_SYMBOLS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def make_ware(rng: Rng, *, cell_inches: tuple[float, float], size: tuple[float, float]) -> Ware:
    """A new product that fits a cell; `size` is the range of the root of its face's area, as a share of the cell's."""
    weights = np.array([kind.weight for kind in _KINDS.values()])
    name = str(rng.choice(list(_KINDS), p=weights / weights.sum()))
    kind = _KINDS[name]
    side = rng.uniform(*size) * float(np.sqrt(cell_inches[0] * cell_inches[1]))
    shape = float(np.exp(rng.uniform(*kind.shape) / 2))
    wide, high = min(side * shape, 0.8 * cell_inches[0]), min(side / shape, 0.85 * cell_inches[1])
    thick = min(wide, high) * rng.uniform(*kind.thick)
    return Ware(
        asin="B0" + "".join(rng.choice(list(_SYMBOLS), 8)),
        name=f"{rng.choice(_MAKERS)} {rng.choice(_TRAITS)} {rng.choice(kind.nouns)}, {rng.integers(1, 13)} Pack",
        kind=name,
        face_inches=(wide, high),
        thick_inches=thick,
        weight_lb=round(wide * high * thick * kind.density * rng.uniform(0.5, 2), 3),
        colours=(_colour(rng), _colour(rng), _colour(rng)),
        look=int(rng.integers(2**31)),
    )


def _colour(rng: Rng) -> Colour:
    """Cardboard, white and black are as common on shelves as everything else together."""
    dice = rng.random()
    if dice < 0.2:
        base = np.array((172, 132, 94)) * rng.uniform(0.75, 1.2)
    elif dice < 0.44:
        base = np.array((236, 234, 230)) * rng.uniform(0.8, 1.05)
    elif dice < 0.58:
        base = np.array((52, 50, 54)) * rng.uniform(0.6, 1.6)
    else:
        hue = rng.random() * 6 + np.array((0, 4, 2))
        base = (np.clip(np.abs(hue % 6 - 3) - 1, 0, 1) * rng.uniform(0.2, 0.6) + rng.uniform(0.15, 0.4)) * 235
    red, green, blue = (int(part) for part in np.clip(base, 12, 250))
    return red, green, blue
