"""Whether a correction still fits what the stock system says now.

A bin was counted at a moment, and stock moves on. A correction of 5 to 4 is right of 5, and after a recorded pick of
one it is right of 4, which becomes 3. What was picked before it was counted, after the record that it was counted
against, is reckoned in too. Of any other stock it is not known what it would make of it: it is stale.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, func, select

from bintally.inventory import schema
from bintally.inventory.erp.outbox import Due
from bintally.inventory.erp.protocol import Line, Posting, Stock
from bintally.inventory.review.undo import RESTORED


class Moves(msgspec.Struct, frozen=True):
    """Items that recorded transactions have brought into a bin (below 0: out), by SKU; None: in all.

    `since`: after it was counted; `earlier`: between the record that it was counted against, and then.
    """

    since: Mapping[str | None, int] = {}
    earlier: Mapping[str | None, int] = {}


class Fits(msgspec.Struct, frozen=True):
    """What becomes of a correction on stock as it is now: its `lines`, where `state` is None; else why it is not sent.

    "posted": the stock system says already what it would say afterwards.
    """

    lines: tuple[Line, ...] = ()
    state: Literal["posted", "stale", "refused"] | None = None
    reason: str = ""


def fits(posting: Posting, stock: Stock | None, moves: Moves, *, name: str) -> Fits:
    """Whether a correction fits what the stock system `name` says now of the bin; None: it knows no such bin."""
    if stock is not None and stock.why_not is not None:
        return Fits(state="refused", reason=stock.why_not)
    lines = rebased(posting, stock, moves)
    if lines is None:
        return Fits(state="stale", reason=f"{name} says otherwise by now ({held_words(posting, stock)})")
    by_product = named(lines, stock)
    if by_product is None:
        return Fits(state="refused", reason="only the bin's total was counted: nobody knows which product it is about")
    changes = tuple(line for line in by_product if line.change)
    return Fits(changes) if changes else Fits(by_product, "posted", f"{name} says so already")


def moves_of(connection: Connection, each: Due) -> Moves:
    """What was recorded of a posting's bin since it was counted, and before."""
    counted_at, movement = each.posting.counted_at, schema.Movement.moved_at
    base = _told_at(connection, each.decision_id)
    since = _moved(connection, each.bin_id, movement > counted_at)
    earlier = {} if base is None else _moved(connection, each.bin_id, and_(movement > base, movement <= counted_at))
    return Moves(since, earlier)


def rebased(posting: Posting, stock: Stock | None, moves: Moves) -> tuple[Line, ...] | None:
    """The posting's lines on what the stock system says now; None: they do not fit it.

    `stock` None: it knows no such bin, which is an empty one. What is taken back is the change, whatever has moved. A
    bin's only line takes all that has moved there, since not every transaction tells its product.
    """
    alone = len(posting.lines) == 1 and (stock is None or len(_there(stock)) <= 1)
    lines = []
    for line in posting.lines:
        sku = None if alone else line.product
        held = _held(stock, line.product)
        lines.append(_rebased(posting, line, held, moves.since.get(sku, 0), moves.earlier.get(sku, 0)))
    fitting = [line for line in lines if line is not None and line.after >= 0]
    return tuple(fitting) if len(fitting) == len(lines) else None


def named(lines: tuple[Line, ...], stock: Stock | None) -> tuple[Line, ...] | None:
    """`lines`, a change of the bin's total told as its product's; None: nobody knows which product that is.

    It is known where the stock system has one product there, and where nothing at all is left.
    """
    if all(line.product is not None for line in lines):
        return lines
    there = {} if stock is None else _there(stock)
    [line] = lines
    if not line.after:
        return tuple(Line(sku, quantity, 0) for sku, quantity in sorted(there.items()))
    return tuple(Line(sku, line.before, line.after) for sku in there) if len(there) == 1 else None


def held_words(posting: Posting, stock: Stock | None) -> str:
    """What the stock system says of the posting's products, beside what the correction starts from."""
    return "; ".join(
        f"{line.product or 'in all'}: {_held(stock, line.product)} there, counted against {line.before}"
        for line in posting.lines
    )


def _told_at(connection: Connection, decision_id: int) -> datetime | None:
    """The moment of the record that a decision corrects; what an undo has restored is as old as it was before."""
    adjustment, record, decision = schema.Adjustment, schema.StockRecord, schema.Decision
    query = select(record.source, record.key, record.effective_at).join(adjustment, adjustment.record_id == record.id)
    told = connection.execute(query.where(adjustment.decision_id == decision_id).limit(1)).one_or_none()
    if told is None:
        return None
    if told.source != schema.CORRECTION or not told.key.startswith(RESTORED):
        return told.effective_at  # type: ignore[no-any-return]
    undo_id = int(told.key.removeprefix(RESTORED))
    undone_id = connection.execute(select(decision.undoes_id).where(decision.id == undo_id)).scalar_one()
    return None if undone_id is None else _told_at(connection, undone_id)


def _moved(connection: Connection, bin_id: int, when: ColumnElement[bool]) -> dict[str | None, int]:
    movement, product = schema.Movement, schema.Product
    query = (
        select(product.sku, func.sum(movement.quantity).label("quantity"))
        .select_from(movement)
        .outerjoin(product, product.id == movement.product_id)
        .where(movement.bin_id == bin_id, when)
        .group_by(product.sku)
    )
    moved: dict[str | None, int] = {row.sku: int(row.quantity) for row in connection.execute(query)}
    return {**moved, None: sum(moved.values())}


def _rebased(posting: Posting, line: Line, held: int, since: int, earlier: int) -> Line | None:
    """The line on the `held` items, where the stock system has heard of all that has moved, or of nothing since."""
    if posting.kind == "reverse":
        return Line(line.product, held, held + line.change)
    if held == line.before + earlier + since:
        return Line(line.product, held, line.after + since)
    if earlier or held != line.before:  # it would book what was picked before the count once more
        return None
    return Line(line.product, held, line.after)


def _held(stock: Stock | None, product: str | None) -> int:
    if stock is None:
        return 0
    return stock.quantity if product is None else stock.lines.get(product, 0)


def _there(stock: Stock) -> dict[str, int]:
    return {sku: quantity for sku, quantity in stock.lines.items() if quantity}
