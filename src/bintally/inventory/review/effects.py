"""What a decision does: it closes reviews, adjusts stock, corrects the record, labels the photo."""

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import Connection, exists, func, insert, or_, select, update

from bintally.inventory import schema
from bintally.inventory.intake import Version
from bintally.inventory.review.case import Case


class Change(msgspec.Struct, frozen=True):
    """A change of stock. `product` None: of the bin's total. `value`: money, below 0 where stock was lost."""

    product: str | None
    before: int
    after: int
    value: float | None = None


def close(connection: Connection, case: Case, *, state: str, at: datetime) -> None:
    """Ends the lease; "waiting" and "open" leave the review without an end."""
    values = {
        "state": state,
        "closed_at": at if state in ("closed", "withdrawn") else None,
        "lease_person_id": None,
        "lease_until": None,
        "lease_token": None,
    }
    connection.execute(update(schema.Review).where(schema.Review.id == case.review_id).values(**values))


def open_round(connection: Connection, case: Case, *, reason: str, blind: bool, at: datetime) -> int:
    """Opens the next review of the same verdict: somebody else should look."""
    review = schema.Review
    last = select(func.max(review.round)).where(review.verdict_id == case.verdict_id)
    values = {
        "bin_id": case.bin_id,
        "verdict_id": case.verdict_id,
        "round": connection.execute(last).scalar_one() + 1,
        "reason": reason,
        "blind": blind,
        "worth": case.worth,
        "propensity": case.propensity,
        "opened_at": at,
    }
    return int(connection.execute(insert(review).values(**values).returning(review.id)).scalar_one())


def changes_of(
    before: Mapping[str, int], quantity: int, count: int, lines: Mapping[str, int] | None
) -> dict[str | None, tuple[int, int]]:
    """What a correction changes, by SKU (None: the total): what the record said, what was counted.

    `before`: the record's lines; empty where it had none. A total alone tells about a product only where the record
    names one; and of a record without lines only the total changes.
    """
    after = lines_after(before, count, lines)
    if not before or not after:
        return {None: (quantity, count)}
    pairs = {sku: (before.get(sku, 0), after.get(sku, 0)) for sku in sorted({*before, *after})}
    return {sku: pair for sku, pair in pairs.items() if pair[0] != pair[1]}


def lines_after(before: Mapping[str, int], count: int, lines: Mapping[str, int] | None) -> dict[str, int]:
    """A corrected record's lines; none where only its total is known."""
    if lines is not None:
        return dict(lines)
    return {next(iter(before)): count} if len(before) == 1 else {}


def valued(
    connection: Connection, case: Case, before: Mapping[str, int], changes: Mapping[str | None, tuple[int, int]]
) -> list[tuple[int | None, Change, Decimal | None]]:
    """The changes with their products' numbers and their money; a total's only where all products cost the same."""
    product = schema.Product
    skus = {*before, *(sku for sku in changes if sku is not None)}
    rows = connection.execute(
        select(product.sku, product.id, product.unit_value).where(
            product.site_id == case.site.id, product.sku.in_(skus)
        )
    ).all()
    known = {row.sku: row for row in rows}
    costs = {row.unit_value for row in rows}
    common = costs.pop() if len(costs) == 1 else None
    told = []
    for sku, (old, new) in changes.items():
        unit_value = common if sku is None else known[sku].unit_value
        value = None if unit_value is None else (new - old) * unit_value
        change = Change(sku, old, new, None if value is None else float(value))
        told.append((None if sku is None else known[sku].id, change, value))
    return told


def adjust(
    connection: Connection,
    case: Case,
    *,
    decision_id: int,
    record_id: int,
    changes: list[tuple[int | None, Change, Decimal | None]],
    stands: bool,
    at: datetime,
) -> None:
    """Asks for changes of stock; `stands`: nobody else has to approve."""
    rows = [
        {
            "decision_id": decision_id,
            "bin_id": case.bin_id,
            "record_id": record_id,
            "product_id": product_id,
            "before": change.before,
            "after": change.after,
            "value": value,
            "state": "approved" if stands else "proposed",
            "made_at": at,
            "settled_at": at if stands else None,
        }
        for product_id, change, value in changes
    ]
    connection.execute(insert(schema.Adjustment), rows)


def correct_record(
    connection: Connection,
    case: Case,
    *,
    key: str,
    quantity: int,
    lines: Mapping[str, int],
    effective_at: datetime,
    at: datetime,
) -> int:
    """A new version of the bin's record, in force from `effective_at` on."""
    record, product = schema.StockRecord, schema.Product
    values = {
        "bin_id": case.bin_id,
        "key": key,
        "quantity": quantity,
        "effective_at": effective_at,
        "received_at": at,
        "source": schema.CORRECTION,
    }
    added = int(connection.execute(insert(record).values(**values).returning(record.id)).scalar_one())
    if lines:
        named = select(product.sku, product.id).where(product.site_id == case.site.id, product.sku.in_(lines))
        rows = [
            {"record_id": added, "product_id": row.id, "quantity": lines[row.sku]} for row in connection.execute(named)
        ]
        connection.execute(insert(schema.StockLine), rows)
    return added


def label(
    connection: Connection,
    case: Case,
    *,
    decision_id: int,
    kind: str,
    count: int | None,
    counted_at: datetime | None,
    at: datetime,
) -> bool:
    """Labels the photo. Not where stock moved between the photo and a count at the bin: it may show another count."""
    if case.photo_id is None:
        return False
    if counted_at is not None and case.taken_at is not None and _moved(connection, case, counted_at):
        return False
    values = {"photo_id": case.photo_id, "decision_id": decision_id, "count": count, "kind": kind, "made_at": at}
    connection.execute(insert(schema.Label).values(**values))
    return True


def same_stock(connection: Connection, one: int, other: Version) -> bool:
    """Whether two versions of a record say the same."""
    if one == other.id:
        return True
    record = schema.StockRecord
    quantity = connection.execute(select(record.quantity).where(record.id == one)).scalar_one()
    return bool(quantity == other.quantity) and _lines(connection, one) == _lines(connection, other.id)


def plain_lines(text: str | None) -> dict[str, int] | None:
    """A decision's lines."""
    return None if text is None else dict(json.loads(text))


def _moved(connection: Connection, case: Case, counted_at: datetime) -> bool:
    assert case.taken_at is not None  # noqa: S101 - for type checkers
    first, last = sorted((case.taken_at, counted_at))
    if first == last:
        return False
    moves, records = schema.Movement, schema.StockRecord
    moved = exists().where(moves.bin_id == case.bin_id, moves.moved_at > first, moves.moved_at <= last)
    told = exists().where(records.bin_id == case.bin_id, records.effective_at > first, records.effective_at <= last)
    return bool(connection.execute(select(or_(moved, told))).scalar_one())


def _lines(connection: Connection, record_id: int) -> dict[int, int]:
    line = schema.StockLine
    rows: Any = connection.execute(select(line.product_id, line.quantity).where(line.record_id == record_id))
    return {row.product_id: row.quantity for row in rows}
