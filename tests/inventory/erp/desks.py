"""Corrections that wait to be told to a stock system."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from sqlalchemy import insert, select

from bintally.inventory import schema
from bintally.inventory.erp.connections import ErpConnection, connection_of
from bintally.inventory.erp.relay import PostReport, post
from bintally.inventory.ledger import Ledger
from bintally.inventory.review.decisions import Decided, decide
from bintally.inventory.review.leases import take
from bintally.inventory.review.undo import undo
from tests.inventory.erp.notebook import Notebook
from tests.inventory.review.desks import NOON, decided, opened
from tests.inventory.worlds import MORNING, World

EVENING = NOON + timedelta(hours=6)
SKU = "B-1.0"
"""The product of bins that `corrected` makes."""


def connected(ledger: Ledger, world: World, name: str = "notebook", path: Path | None = None) -> ErpConnection:
    """A connection of a kind that only tests know."""
    settings = "{}" if path is None else f'{{"path": "{path}"}}'
    values = {"site_id": world.site.id, "name": name, "kind": "notebook", "settings": settings}
    world.connection.execute(insert(schema.ErpConnection).values(**values, since=MORNING, made_at=MORNING))
    return connection_of(world.connection, name)


def corrected(
    world: World,
    code: str,
    *,
    recorded: int = 4,
    count: int = 3,
    lines: Mapping[str, int] | None = None,
    counted: Mapping[str, int] | None = None,
) -> Decided:
    """A bin whose record was corrected by rita, worth so little that nobody else is asked.

    `lines`: the record's, by product; `counted`: what she counted of each.
    """
    case = world.judged(code, recorded=recorded, count=count, value=1.0, lines=lines)
    review_id = opened(world, case)
    assert review_id is not None
    told = None if counted is not None else count
    return decided(world, review_id, "rita", "correct", told, lines=counted)


def corrected_again(ledger: Ledger, world: World, review_id: int, count: int, *, at: timedelta) -> Decided:
    """A review that is open again is decided once more, so long after noon."""
    with ledger.write() as connection:
        rita = world.people["rita"]
        leased = take(connection, rita, world.site, at=NOON + at, review_id=review_id)
        assert leased is not None
        return decide(
            connection, review_id=review_id, person=rita, token=leased.token, kind="correct", count=count, at=NOON + at
        )


def undone(ledger: Ledger, world: World, told: Decided, *, at: timedelta = timedelta(hours=7)) -> Decided:
    """A decision that rita takes back, so long after noon."""
    with ledger.write() as connection:
        return undo(connection, decision_id=told.decision_id, person=world.people["rita"], at=NOON + at)


def posted(ledger: Ledger, to: ErpConnection, erp: Notebook, *, at: timedelta = timedelta()) -> PostReport:
    """A run of the relay in the evening, or so much later."""
    return post(ledger, to, erp, clock=lambda: EVENING + at, lease_s=5.0)


def states(ledger: Ledger) -> list[tuple[str, str]]:
    """All postings, in order: (kind, state)."""
    with ledger.read() as connection:
        query = select(schema.Posting.kind, schema.Posting.state).order_by(schema.Posting.id)
        return [(row.kind, row.state) for row in connection.execute(query)]
