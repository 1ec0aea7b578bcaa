"""A review as the person who does it may see it: a blind one without the record and without what a model says."""

from datetime import datetime

import msgspec
from sqlalchemy import Connection, select

from bintally.inventory import schema
from bintally.inventory.review.case import DISAGREED, Case, case_of
from bintally.inventory.verdict import Verdict


class Item(msgspec.Struct, frozen=True):
    """A product that the record names. `recorded_count` None: it is not shown."""

    sku: str
    name: str
    unit_value: float | None = None
    recorded_count: int | None = None


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What a reviewer is shown. Of a blind review neither record nor verdict nor money.

    `counts`: blind counts that disagree, for the approver who decides.
    """

    review_id: int
    site: str
    bin: str
    reason: str
    blind: bool
    photo: str | None  # where it lies
    photo_sha256: str | None
    taken_at: datetime | None
    items: tuple[Item, ...]
    recorded_count: int | None = None
    verdict: Verdict | None = None
    worth: float | None = None
    currency: str = "USD"
    counts: tuple[int, ...] = ()


def show(connection: Connection, review_id: int) -> Shown:
    """The review, for the person who has taken it."""
    return shown_of(connection, case_of(connection, review_id))


def shown_of(connection: Connection, case: Case) -> Shown:
    """What may be shown of `case`."""
    photo = connection.execute(
        select(schema.Photo.place, schema.Photo.sha256).where(schema.Photo.id == case.photo_id)
    ).one_or_none()
    told = {} if case.blind else {
        "recorded_count": case.verdict.recorded_count,
        "verdict": case.verdict,
        "worth": float(case.worth),
    }  # fmt: skip
    return Shown(
        review_id=case.review_id,
        site=case.site.code,
        bin=case.bin,
        reason=case.reason,
        blind=case.blind,
        photo=None if photo is None else photo.place,
        photo_sha256=None if photo is None else photo.sha256,
        taken_at=case.taken_at,
        items=_items(connection, case),
        currency=case.site.currency,
        counts=tuple(sorted(blind_counts(connection, case))) if case.reason == DISAGREED else (),
        **told,  # type: ignore[arg-type]
    )


def blind_counts(connection: Connection, case: Case) -> list[int]:
    """Blind counts of the verdict that settled nothing yet, and were not taken back; the earliest first."""
    from sqlalchemy import exists
    from sqlalchemy.orm import aliased

    decision, undo = schema.Decision, aliased(schema.Decision)
    query = (
        select(decision.count)
        .join(schema.Review, schema.Review.id == decision.review_id)
        .where(
            schema.Review.verdict_id == case.verdict_id,
            decision.kind == "count",
            ~exists().where(undo.undoes_id == decision.id),
        )
        .order_by(decision.id)
    )
    return [count for count in connection.execute(query).scalars() if count is not None]


def _items(connection: Connection, case: Case) -> tuple[Item, ...]:
    line, product = schema.StockLine, schema.Product
    rows = connection.execute(
        select(product.sku, product.name, product.unit_value, line.quantity)
        .join(line, line.product_id == product.id)
        .where(line.record_id == case.record_id)
        .order_by(product.sku)
    )
    if case.blind:
        return tuple(Item(row.sku, row.name) for row in rows)
    return tuple(
        Item(row.sku, row.name, None if row.unit_value is None else float(row.unit_value), row.quantity) for row in rows
    )
