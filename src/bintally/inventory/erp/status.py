"""How far stock systems have been told: what waits, what needs a person, when something last went through."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, func, or_, select

from bintally.database import leases
from bintally.errors import UsageError
from bintally.inventory import schema
from bintally.inventory.erp import filling
from bintally.inventory.erp.connections import ErpConnection, connection_of, connections
from bintally.inventory.erp.outbox import OPEN
from bintally.inventory.erp.protocol import Posting

LONG: Final = timedelta(hours=1)
"""A stock system that has been away, or a correction that has waited, for so long needs somebody to look."""

_DIGITS: Final = 19  # of the largest number that databases have


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A connection, and what the outbox has for it.

    `unheard`: decisions that nothing has been made of yet; `counts`: postings by state; `oldest`: since when the
    oldest of both waits that is not over; `is_posting`: somebody is at it just now.
    """

    connection: ErpConnection
    site: str
    unheard: int
    counts: Mapping[str, int]
    oldest: datetime | None
    last_posted: datetime | None
    is_posting: bool
    at: datetime

    @property
    def waiting(self) -> int:
        """Postings that go out by themselves."""
        return self.counts.get("waiting", 0)

    @property
    def dead(self) -> int:
        """Postings that a person has to act on."""
        return self.counts.get("stale", 0) + self.counts.get("refused", 0)

    @property
    def is_late(self) -> bool:
        """Whether something has waited for long: paused, or nobody posts."""
        return self.oldest is not None and self.at - self.oldest >= LONG

    @property
    def needs_person(self) -> bool:
        """Whether somebody has to do something."""
        away = self.connection.away_since
        return bool(self.dead) or self.is_late or (away is not None and self.at - away >= LONG)


class Step(msgspec.Struct, frozen=True):
    """Something that happened to a posting."""

    at: datetime
    step: str
    body: Mapping[str, Any]


class PostingShown(msgspec.Struct, frozen=True, kw_only=True):
    """A posting, and all that happened to it."""

    id: int
    connection: str
    state: str
    reason: str
    reference: str | None
    posting: Posting
    tried: int
    next_at: datetime
    made_at: datetime
    settled_at: datetime | None
    steps: tuple[Step, ...]


def statuses(connection: Connection, *, at: datetime, name: str | None = None) -> list[Status]:
    """The states of all stock systems, or of one.

    Raises:
        UsageError: there is none of that name.
    """
    asked = connections(connection) if name is None else [connection_of(connection, name)]
    return [_status(connection, to, at) for to in asked]


def not_posted(connection: Connection, site_ids: Collection[int] | None = None) -> dict[str, int]:
    """Corrections that stock systems do not know of yet (of all sites, or some), by their names."""
    posting = schema.Posting
    waiting = select(func.count()).where(posting.state.in_(OPEN))
    return {
        to.name: connection.execute(waiting.where(posting.connection_id == to.id)).scalar_one()
        + filling.unheard(connection, to)
        for to in connections(connection)
        if site_ids is None or to.site_id in site_ids
    }


def show(connection: Connection, called: str) -> PostingShown:
    """A posting, by its number or its key.

    Raises:
        UsageError: there is none.
    """
    posting, step, erp = schema.Posting, schema.PostingStep, schema.ErpConnection
    number = int(called) if called.isdecimal() and len(called) < _DIGITS else None
    by = or_(posting.key == called, posting.id == number)
    query = select(posting.__table__, erp.name.label("connection")).join(erp, erp.id == posting.connection_id).where(by)
    row = connection.execute(query).first()
    if row is None:
        raise UsageError(f"There is no posting {called}.", hint="`bintally erp dead-letters` lists those that wait.")
    steps = connection.execute(select(step.__table__).where(step.posting_id == row.id).order_by(step.id)).all()
    return PostingShown(
        id=row.id,
        connection=row.connection,
        state=row.state,
        reason=row.reason,
        reference=row.reference,
        posting=msgspec.json.decode(row.body, type=Posting),
        tried=row.tried,
        next_at=row.next_at,
        made_at=row.made_at,
        settled_at=row.settled_at,
        steps=tuple(Step(each.at, each.step, msgspec.json.decode(each.body)) for each in steps),
    )


def _status(connection: Connection, to: ErpConnection, at: datetime) -> Status:
    posting = schema.Posting
    mine = posting.connection_id == to.id
    counts = select(posting.state, func.count().label("many")).where(mine).group_by(posting.state)
    made = select(func.min(posting.made_at)).where(mine, posting.state.in_(OPEN))
    oldest = (connection.execute(made).scalar_one(), filling.oldest_unheard(connection, to))
    last = select(posting.settled_at).where(mine, posting.state == "posted").where(posting.settled_at.is_not(None))
    return Status(
        connection=to,
        site=connection.execute(select(schema.Site.code).where(schema.Site.id == to.site_id)).scalar_one(),
        unheard=filling.unheard(connection, to),
        counts={row.state: row.many for row in connection.execute(counts)},
        oldest=min((each for each in oldest if each is not None), default=None),
        last_posted=connection.execute(last.order_by(posting.settled_at.desc()).limit(1)).scalar_one_or_none(),
        is_posting=leases.is_held(connection, f"erp:{to.name}"),
        at=at,
    )
