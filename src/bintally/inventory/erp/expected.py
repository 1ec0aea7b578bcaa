"""Whether a correction still fits what the stock system says now.

A bin was counted at a moment, and stock moves on. A correction of 5 to 4 is right of 5, and after a recorded pick of
one it is right of 4, which becomes 3. Of any other stock it is not known what it would make of it: it is stale.
"""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, func, select

from bintally.inventory import schema
from bintally.inventory.erp.protocol import Line, Posting, Stock


def moved_since(connection: Connection, bin_id: int, moment: datetime) -> dict[str | None, int]:
    """How many items the recorded transactions after `moment` have brought in (below 0: out), by SKU; None: in all."""
    movement, product = schema.Movement, schema.Product
    query = (
        select(product.sku, func.sum(movement.quantity))
        .outerjoin(product, product.id == movement.product_id)
        .where(movement.bin_id == bin_id, movement.moved_at > moment)
        .group_by(product.sku)
    )
    moved: dict[str | None, int] = {sku: int(total) for sku, total in connection.execute(query)}
    return {**moved, None: sum(moved.values())}


def rebased(posting: Posting, stock: Stock | None, moved: Mapping[str | None, int]) -> tuple[Line, ...] | None:
    """The posting's lines on what the stock system says now; None: they do not fit it.

    `stock` None: it knows no such bin, which is an empty one. What is taken back is the change, whatever has moved.
    """
    lines = [_rebased(posting, line, _held(stock, line.product), moved.get(line.product, 0)) for line in posting.lines]
    fitting = [line for line in lines if line is not None and line.after >= 0]
    return tuple(fitting) if len(fitting) == len(lines) else None


def held_words(posting: Posting, stock: Stock | None) -> str:
    """What the stock system says of the posting's products, beside what the correction starts from."""
    return "; ".join(
        f"{line.product or 'in all'}: {_held(stock, line.product)} there, counted against {line.before}"
        for line in posting.lines
    )


def _rebased(posting: Posting, line: Line, held: int, moved: int) -> Line | None:
    if posting.kind == "reverse" or held == line.before:
        return Line(line.product, held, held + line.change)
    if held == line.before + moved:
        return Line(line.product, held, line.after + moved)
    return None


def _held(stock: Stock | None, product: str | None) -> int:
    if stock is None:
        return 0
    return stock.quantity if product is None else stock.lines.get(product, 0)
