"""Who looks at what, until when: two people never do the same bin.

A lease ends at its moment by itself. All moments are given in, so that whoever asks decides what time it is.
"""

import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select, update
from sqlalchemy.orm import aliased

from bintally.database import audit
from bintally.errors import ConflictError, UsageError
from bintally.inventory import schema
from bintally.inventory.ledger import Site
from bintally.inventory.people import ROLES, Person
from bintally.inventory.review.case import DISAGREED, Case, case_of, locked
from bintally.inventory.review.listing import ordered
from bintally.inventory.review.shown import Shown, shown_of

MINUTES: Final = 10
LONGEST: Final = 24 * 60
"""Minutes of the longest lease: a shift and its breaks, so that no bin is lost to somebody who left."""
OVERDUE: Final = timedelta(days=7)
"""A review that has waited so long is looked at before all worthier ones, so that none waits forever."""


class Leased(msgspec.Struct, frozen=True):
    """A review that somebody has taken: what they may see of it, and the token to decide with until `until`."""

    review: Shown
    token: str
    until: datetime


def take(
    connection: Connection,
    person: Person,
    site: Site,
    *,
    at: datetime,
    minutes: float = MINUTES,
    review_id: int | None = None,
    skip: Collection[int] = (),
) -> Leased | None:
    """The next free review for `person` (or `review_id`, if it is free), leased; None: there is none.

    The worthiest comes first, before it what is `OVERDUE`. Never one whose record the person has already decided about
    where a second, independent look is what is asked for; where two such looks disagreed, only an approver gets it.

    Raises:
        AccessError: not a reviewer of this site.
    """
    person.need("reviewer", site_id=site.id)
    until = _until(at, minutes)
    free = _free(person, site, at)
    if review_id is not None:
        free = free.where(schema.Review.id == review_id)
    if skip:
        free = free.where(schema.Review.id.not_in(skip))
    chosen = _first(connection, ordered(free.where(schema.Review.opened_at <= at - OVERDUE), "age"))
    chosen = chosen or _first(connection, ordered(free))
    if chosen is None:
        return None
    token = secrets.token_hex(16)
    _set(connection, chosen.id, person.id, until, token)
    case = case_of(connection, chosen.id)
    if chosen.lease_person_id not in (None, person.id):
        body = {"review": case.review_id, "lease": chosen.lease_person_id, "until": chosen.lease_until}
        audit.append(connection, actor=person.name, action="lease.expire", subject=case.subject, body=body, at=at)
    return Leased(shown_of(connection, case), token, until)


def held(connection: Connection, person: Person, site: Site, *, at: datetime) -> list[Leased]:
    """What `person` has taken and not finished, the oldest lease first."""
    review = schema.Review
    query = (
        select(review.id, review.lease_token, review.lease_until)
        .join(schema.Bin, schema.Bin.id == review.bin_id)
        .where(schema.Bin.site_id == site.id, review.state == "open")
        .where(review.lease_person_id == person.id, review.lease_until > at)
        .order_by(review.lease_until, review.id)
    )
    return [
        Leased(shown_of(connection, case_of(connection, row.id)), row.lease_token, row.lease_until)
        for row in connection.execute(query).all()
    ]


def renew(
    connection: Connection,
    *,
    review_id: int,
    person: Person,
    token: str,
    at: datetime,
    minutes: float = MINUTES,
) -> datetime:
    """Makes a lease last `minutes` from now on; returns its new end.

    Raises:
        ConflictError: it has ended, or somebody else has it.
    """
    case = locked(connection, review_id)
    check(case, person, token, at)
    until = _until(at, minutes)
    _set(connection, review_id, person.id, until, token)
    return until


def give_back(connection: Connection, *, review_id: int, person: Person, token: str) -> bool:
    """Ends a lease early. False: it was not `person`'s any more, and nothing was changed."""
    review = schema.Review
    mine = and_(review.id == review_id, review.lease_token == token, review.lease_person_id == person.id)
    ended = connection.execute(update(review).where(mine).values(**_NOBODY))
    return ended.rowcount == 1


def release(connection: Connection, *, review_id: int, by: Person, at: datetime) -> bool:
    """Ends somebody else's lease by force. False: nobody had it.

    Raises:
        AccessError: not an approver.
    """
    case = locked(connection, review_id)
    by.need("approver", site_id=case.site.id)
    if case.lease_until is None or case.lease_until <= at:
        return False
    connection.execute(update(schema.Review).where(schema.Review.id == review_id).values(**_NOBODY))
    body = {"review": review_id, "lease": case.lease_person_id, "until": case.lease_until}
    audit.append(connection, actor=by.name, action="lease.release", subject=case.subject, body=body, at=at)
    return True


def check(case: Case, person: Person, token: str, at: datetime) -> None:
    """Raises ConflictError unless `person` holds the lease of an open review at this moment."""
    if case.state != "open":
        raise ConflictError(f"The review of bin {case.bin} is {case.state}: {_ENDED[case.state]}.", hint=_NEXT)
    if case.lease_person_id != person.id or case.lease_token is None or case.lease_token != token:
        raise ConflictError(f"{person.name} does not have bin {case.bin}, or not any more.", hint=_NEXT)
    if case.lease_until is None or case.lease_until <= at:
        raise ConflictError(f"The time for bin {case.bin} ran out at {case.lease_until:%H:%M} UTC.", hint=_NEXT)


def why_not(connection: Connection, review_id: int, person: Person, site: Site, *, at: datetime) -> ConflictError:
    """Why `person` can't take a review now.

    Raises:
        UsageError: there is no such review at the site.
    """
    case = locked(connection, review_id)
    if case.site.id != site.id:
        raise UsageError(f"Review {review_id} is of site {case.site.code}.", hint=f"Say --site {case.site.code}.")
    if case.state != "open":
        return ConflictError(f"The review of bin {case.bin} is {case.state}: {_ENDED[case.state]}.", hint=_NEXT)
    if case.lease_until is not None and case.lease_until > at and case.lease_person_id != person.id:
        return ConflictError(f"Somebody else has bin {case.bin} until {case.lease_until:%H:%M} UTC.", hint=_NEXT)
    return ConflictError(f"Bin {case.bin} is for somebody who has not decided about it yet.", hint=_NEXT)


def _until(at: datetime, minutes: float) -> datetime:
    if not 0 < minutes <= LONGEST:
        raise UsageError(f"A bin can't be kept for {minutes:g} minutes.", hint=f"Up to {LONGEST:,} can be.")
    return at + timedelta(minutes=minutes)


def _free(person: Person, site: Site, at: datetime) -> Any:
    """Reviews that `person` may take, locked; what others are just taking is passed over."""
    review, verdict = schema.Review, schema.Verdict
    query: Any = (
        select(review.id, review.lease_person_id, review.lease_until)
        .join(schema.Bin, schema.Bin.id == review.bin_id)
        .join(verdict, verdict.id == review.verdict_id)
        .where(schema.Bin.site_id == site.id, review.state == "open")
        .where(or_(review.lease_until.is_(None), review.lease_until <= at))
        .where(may_look(person))
        .with_for_update(skip_locked=True, of=review)
    )
    return query


def may_look(person: Person) -> ColumnElement[bool]:
    """In a query over reviews and their verdicts: what `person` may look at without knowing too much."""
    review, verdict = schema.Review, schema.Verdict
    decision, looked, of = schema.Decision, aliased(schema.Review), aliased(schema.Verdict)
    has_looked = exists().where(
        decision.person_id == person.id,
        looked.id == decision.review_id,
        of.id == looked.verdict_id,
        of.record_id == verdict.record_id,
    )
    anybody = and_(review.blind.is_(False), review.reason != DISAGREED)
    if ROLES.index(person.role) >= ROLES.index("approver"):
        return or_(anybody, ~has_looked)
    return or_(anybody, and_(review.reason != DISAGREED, ~has_looked))


def for_others(connection: Connection, person: Person, site: Site, *, at: datetime) -> int:
    """How many open reviews wait that `person` can't take now: somebody else has them, or should look."""
    review, verdict = schema.Review, schema.Verdict
    mine = and_(may_look(person), or_(review.lease_until.is_(None), review.lease_until <= at))
    query = (
        select(func.count())
        .select_from(review)
        .join(schema.Bin, schema.Bin.id == review.bin_id)
        .join(verdict, verdict.id == review.verdict_id)
        .where(schema.Bin.site_id == site.id, review.state == "open", ~mine)
    )
    return int(connection.execute(query).scalar_one())


def _first(connection: Connection, query: Any) -> Any:
    return connection.execute(query.limit(1)).one_or_none()


def _set(connection: Connection, review_id: int, person_id: int, until: datetime, token: str) -> None:
    review = schema.Review
    values = {"lease_person_id": person_id, "lease_until": until, "lease_token": token}
    connection.execute(update(review).where(review.id == review_id).values(**values))


_NOBODY: Final[dict[str, Any]] = {"lease_person_id": None, "lease_until": None, "lease_token": None}
_NEXT: Final = "Take the next one; nothing was changed."
_ENDED: Final = {
    "waiting": "a second person is asked",
    "closed": "somebody has decided",
    "withdrawn": "a newer photo or record took its place",
}
