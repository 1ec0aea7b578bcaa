"""Short ways for tests of reviews: open one, take it, decide it."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from bintally.database.types import Table
from bintally.inventory import schema
from bintally.inventory.policy.settings import Costs
from bintally.inventory.review.decisions import Decided, decide
from bintally.inventory.review.findings import Kind
from bintally.inventory.review.leases import take
from bintally.inventory.review.queue import open_review
from tests.inventory.worlds import HOUR, MORNING, Case, World

NOON = MORNING + 4 * HOUR
COSTS = Costs(currency="EUR", count=2.0, recount=2.0, escape=40.0)


def opened(world: World, case: Case, *, value: float | None = 10.0, at: datetime = NOON) -> int | None:
    """A review of a verdict, if one is opened."""
    return open_review(
        world.connection,
        bin_id=case.bin_id,
        verdict_id=case.verdict_id,
        verdict=case.verdict,
        unit_value=value,
        costs=COSTS,
        recount_share=0.02,
        at=at,
    )


def decided(
    world: World,
    review_id: int,
    person: str,
    kind: Kind,
    count: int | None = None,
    *,
    lines: Mapping[str, int] | None = None,
    key: str | None = None,
    at: datetime = NOON,
    counted_at: datetime | None = None,
    note: str = "",
) -> Decided:
    """`person` takes a review and decides it a minute later."""
    who = world.people[person]
    taken = take(world.connection, who, world.site, at=at, review_id=review_id)
    assert taken is not None, f"{person} can't take review {review_id}"
    return decide(
        world.connection,
        review_id=review_id,
        person=who,
        token=taken.token,
        kind=kind,
        count=count,
        lines=lines,
        note=note,
        key=key,
        at=at + timedelta(minutes=1),
        counted_at=counted_at,
    )


def column(connection: Connection, table: type[Table], name: str, **where: object) -> list[object]:
    """A column's values, by number."""
    columns = table.__table__.c
    clauses = [columns[key] == value for key, value in where.items()]
    return list(connection.execute(select(columns[name]).where(*clauses).order_by(columns["id"])).scalars())


def record_now(world: World, bin_id: int) -> tuple[int, dict[int, int]]:
    """The record in force: its quantity, and the lines by product."""
    record, line = schema.StockRecord, schema.StockLine
    newest = world.connection.execute(
        select(record.id, record.quantity)
        .where(record.bin_id == bin_id)
        .order_by(record.effective_at.desc(), record.id.desc())
        .limit(1)
    ).one()
    rows = world.connection.execute(select(line.product_id, line.quantity).where(line.record_id == newest.id))
    return newest.quantity, {row.product_id: row.quantity for row in rows}
