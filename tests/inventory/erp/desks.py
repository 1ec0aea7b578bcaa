"""Corrections that wait to be told to a stock system."""

from datetime import timedelta

from sqlalchemy import insert

from bintally.inventory import schema
from bintally.inventory.erp.connections import ErpConnection, connection_of
from bintally.inventory.erp.relay import PostReport, post
from bintally.inventory.ledger import Ledger
from bintally.inventory.review.decisions import Decided
from tests.inventory.erp.notebook import Notebook
from tests.inventory.review.desks import NOON, decided, opened
from tests.inventory.worlds import MORNING, World

EVENING = NOON + timedelta(hours=6)


def connected(ledger: Ledger, world: World, name: str = "notebook") -> ErpConnection:
    """A connection of a kind that only tests know."""
    values = {"site_id": world.site.id, "name": name, "kind": "notebook", "settings": "{}"}
    world.connection.execute(insert(schema.ErpConnection).values(**values, since=MORNING, made_at=MORNING))
    return connection_of(world.connection, name)


def corrected(world: World, code: str, *, recorded: int = 4, count: int = 3) -> Decided:
    """A bin whose record was corrected by rita, worth so little that nobody else is asked."""
    case = world.judged(code, recorded=recorded, count=count, value=1.0)
    review_id = opened(world, case)
    assert review_id is not None
    return decided(world, review_id, "rita", "correct", count)


def posted(ledger: Ledger, to: ErpConnection, erp: Notebook, *, at: timedelta = timedelta()) -> PostReport:
    """A run of the relay in the evening, or so much later."""
    return post(ledger, to, erp, clock=lambda: EVENING + at, lease_s=5.0)
