"""Quantities as stock systems tell them, which know pounds and halves, in whole items."""

from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from datetime import datetime

from bintally.inventory.erp.protocol import Line, Stock


def stock_of(product: str, code: str, held: Iterable[tuple[str, float]], *, as_of: datetime) -> Stock:
    """A bin as the stock system `product` tells it: (SKU, quantity), each SKU once."""
    rows = [(sku, quantity) for sku, quantity in held if quantity]
    why_not = _why_not(product, code, rows)
    lines = {} if why_not else {sku: int(quantity) for sku, quantity in rows}
    return Stock(bin=code, lines=lines, as_of=as_of, why_not=why_not)


def moved(lines: Sequence[Line], held: dict[str, float]) -> str | None:
    """How what is `held`, by SKU, differs from what `lines` start from; None: it does not."""
    for line in lines:
        there = held.get(line.product or "", 0.0)
        if there != line.before:
            return f"its stock moved: {there:g} of {line.product} there, {line.before} expected"
    return None


def _why_not(product: str, code: str, rows: Sequence[tuple[str, float]]) -> str | None:
    """Why a bin can't be told in whole items; None: it can."""
    for sku, quantity in rows:
        if not float(quantity).is_integer():
            return f"{product} has {quantity:g} of {sku} in {code}, which is no number of items."
    twice = next((sku for sku, times in Tally(sku for sku, _ in rows).items() if times > 1), None)
    return None if twice is None else f"Two products in {code} are called {twice}: give them codes of their own."
