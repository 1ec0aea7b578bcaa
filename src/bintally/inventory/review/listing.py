"""The queue as people and dashboards see it: what waits, in which order, how much of it."""

from datetime import datetime
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, exists, func, select

from bintally.inventory import schema
from bintally.inventory.ledger import Site


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the queue. It never tells a record's count, so that it can be shown to whoever counts blind."""

    review_id: int
    bin: str
    reason: str
    blind: bool
    state: str  # "open", or "waiting" for a second person
    worth: float
    opened_at: datetime
    taken_by: str | None = None


class Counts(msgspec.Struct, frozen=True):
    """How much waits at a site. `open`: for a look, `taken` of them have somebody; `waiting`: for an approver."""

    open: int
    taken: int
    blind: int
    waiting: int
    by_reason: dict[str, int]
    oldest_at: datetime | None


def waiting(
    connection: Connection,
    site: Site,
    *,
    limit: int = 100,
    after: int = 0,
    reason: str | None = None,
    abc: str | None = None,
    product: str | None = None,
    blind: bool | None = None,
    state: Literal["open", "waiting"] = "open",
    order: Literal["worth", "age"] = "worth",
) -> list[Waiting]:
    """Reviews of a site that wait, the worthiest first (or the oldest), `limit` of them after the first `after`.

    Filters: why they wait, the ABC class or SKU of a product that the record names, blind ones or the others.
    """
    review, person = schema.Review, schema.Person
    query: Any = (
        select(
            review.id.label("review_id"), schema.Bin.code.label("bin"), review.reason, review.blind, review.state,
            review.worth, review.opened_at, person.name.label("taken_by"),
        )
        .join(schema.Bin, schema.Bin.id == review.bin_id)
        .outerjoin(person, person.id == review.lease_person_id)
        .where(review.state == state, schema.Bin.site_id == site.id)
    )  # fmt: skip
    for chosen, clause in ((reason, review.reason == reason), (blind, review.blind.is_(blind))):
        if chosen is not None:
            query = query.where(clause)
    for chosen, clause in ((abc, schema.Product.abc == abc), (product, schema.Product.sku == product)):
        if chosen is not None:
            query = query.where(_names(clause))
    rows = connection.execute(ordered(query, order).limit(limit).offset(after))
    return [Waiting(**{**row._mapping, "worth": float(row.worth)}) for row in rows]


def ordered(query: Any, order: Literal["worth", "age"] = "worth") -> Any:
    """A query over reviews: by worth, then age; or by age alone."""
    review = schema.Review
    if order == "age":
        return query.order_by(review.opened_at, review.id)
    return query.order_by(review.worth.desc(), review.opened_at, review.id)


def counts(connection: Connection, site: Site, *, at: datetime) -> Counts:
    """How much waits at a site, for a dashboard."""
    review = schema.Review
    taken = (review.lease_until.is_not(None)) & (review.lease_until > at)
    query = (
        select(
            review.state, review.reason, review.blind, taken.label("taken"),
            func.count().label("many"), func.min(review.opened_at).label("oldest_at"),
        )
        .join(schema.Bin, schema.Bin.id == review.bin_id)
        .where(schema.Bin.site_id == site.id, review.state.in_(("open", "waiting")))
        .group_by(review.state, review.reason, review.blind, taken)
    )  # fmt: skip
    rows = connection.execute(query).all()
    is_open = [row for row in rows if row.state == "open"]
    by_reason: dict[str, int] = {}
    for row in is_open:
        by_reason[row.reason] = by_reason.get(row.reason, 0) + row.many
    return Counts(
        open=sum(row.many for row in is_open),
        taken=sum(row.many for row in is_open if row.taken),
        blind=sum(row.many for row in is_open if row.blind),
        waiting=sum(row.many for row in rows if row.state == "waiting"),
        by_reason=dict(sorted(by_reason.items())),
        oldest_at=min((row.oldest_at for row in rows), default=None),
    )


def _names(clause: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether the record that a review is about names such a product."""
    line, verdict, product = schema.StockLine, schema.Verdict, schema.Product
    return exists().where(
        verdict.id == schema.Review.verdict_id,
        line.record_id == verdict.record_id,
        product.id == line.product_id,
        clause,
    )
