"""What a stock record says of a bin beside its products' names: how many, how large, how heavy.

`training` learns these from photos, `verification` holds a record against what a photo shows; both read them here.
"""

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from bintally.records import Product

MEASURES: Final = ("volume", "side", "weight")
"""Logarithms of the total volume (cubic inches), of the longest side of any product (inches), of the total weight."""

_SMALLEST_LB: Final = 0.1


class Facts(msgspec.Struct, frozen=True):
    """A record's numbers; a measure is None where one of its products lacks it."""

    items: int
    products: int
    measures: tuple[float | None, float | None, float | None]  # as `MEASURES`


def facts_of(products: Sequence[Product]) -> Facts:
    """The numbers of a record's products; those of which there are none (quantity 0) don't count."""
    held = [product for product in products if product.quantity > 0]
    volumes = [_volume(product) for product in held]
    sides = [_side(product) for product in held]
    weights = [product.weight_lb and product.weight_lb * product.quantity for product in held]
    return Facts(
        items=sum(product.quantity for product in held),
        products=len(held),
        measures=(_log_sum(volumes, 1.0), _log_max(sides), _log_sum(weights, _SMALLEST_LB)),
    )


def _volume(product: Product) -> float | None:
    if product.height_in is None or product.length_in is None or product.width_in is None:
        return None
    return product.height_in * product.length_in * product.width_in * product.quantity


def _side(product: Product) -> float | None:
    sides = [side for side in (product.height_in, product.length_in, product.width_in) if side is not None]
    return max(sides) if len(sides) == 3 else None


def _log_sum(values: Sequence[float | None], smallest: float) -> float | None:
    known = _known(values)
    total = sum(known)
    return math.log(total + smallest) if known and len(known) == len(values) and math.isfinite(total) else None


def _log_max(values: Sequence[float | None]) -> float | None:
    known = _known(values)
    return math.log(max(known) + 1.0) if known and len(known) == len(values) else None


def _known(values: Sequence[float | None]) -> list[float]:
    """Those that are there; nothing has a length below 0."""
    return [value for value in values if value is not None and 0 <= value < math.inf]
