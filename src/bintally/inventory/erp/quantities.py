"""Quantities as stock systems tell them, which know pounds and halves, in whole items."""

from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from bintally.errors import ErpRefusedError
from bintally.inventory.erp.protocol import Line, Stock


def in_items(product: str, code: str, held: Iterable[tuple[str, float]]) -> dict[str, int]:
    """Items of a bin by SKU, as the stock system `product` tells them: (SKU, quantity), each SKU once.

    Raises:
        ErpRefusedError: there is half an item, or one SKU is two products'.
    """
    rows = [(sku, quantity) for sku, quantity in held if quantity]
    for sku, quantity in rows:
        if not float(quantity).is_integer():
            raise ErpRefusedError(
                f"{product} has {quantity:g} of {sku} in {code}, which is no number of items.",
                hint="Correct it there, or keep such products in other places.",
            )
    if twice := [sku for sku, times in Tally(sku for sku, _ in rows).items() if times > 1]:
        raise ErpRefusedError(f"Two products in {code} are called {twice[0]}.", hint="Give them codes of their own.")
    return {sku: int(quantity) for sku, quantity in rows}


def stock_of(product: str, code: str, held: Iterable[tuple[str, float]]) -> Stock:
    """A bin as it is told now.

    Raises:
        ErpRefusedError: as `in_items`.
    """
    return Stock(bin=code, lines=in_items(product, code, held), as_of=datetime.now(UTC))


def moved(lines: Sequence[Line], held: dict[str, float]) -> str | None:
    """How what is `held`, by SKU, differs from what `lines` start from; None: it does not."""
    for line in lines:
        there = held.get(line.product or "", 0.0)
        if there != line.before:
            return f"its stock moved: {there:g} of {line.product} there, {line.before} expected"
    return None
