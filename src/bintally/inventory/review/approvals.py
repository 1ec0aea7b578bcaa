"""The second pair of eyes: a correction of much value stands only when somebody else approves it."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, exists, select, update
from sqlalchemy.orm import aliased

from bintally.database import audit
from bintally.database.types import now
from bintally.errors import AccessError, ConflictError
from bintally.inventory import schema
from bintally.inventory.intake import lines_of
from bintally.inventory.ledger import Site
from bintally.inventory.people import Person
from bintally.inventory.review import effects
from bintally.inventory.review.case import RECOUNT, Case, case_of, locked
from bintally.inventory.review.decisions import Decided, by_key, settle, told_of, write
from bintally.inventory.review.findings import base_of
from bintally.inventory.review.shown import Shown, shown_of


class Proposed(msgspec.Struct, frozen=True):
    """A correction that waits for a second person: the review, who asks for what, and since when."""

    review: Shown
    by: str
    asked: Decided
    note: str
    made_at: datetime


def proposed(connection: Connection, site: Site, *, limit: int = 100) -> list[Proposed]:
    """Corrections of a site that wait for a second person, the oldest first."""
    review = schema.Review
    query = (
        select(review.id)
        .join(schema.Bin, schema.Bin.id == review.bin_id)
        .where(schema.Bin.site_id == site.id, review.state == "waiting")
        .order_by(review.opened_at, review.id)
        .limit(limit)
    )
    found = []
    for review_id in connection.execute(query).scalars().all():
        case = case_of(connection, review_id)
        decision = _asked(connection, review_id)
        name = connection.execute(select(schema.Person.name).where(schema.Person.id == decision.person_id)).scalar_one()
        shown = shown_of(connection, msgspec.structs.replace(case, blind=False))
        found.append(Proposed(shown, name, told_of(connection, decision), decision.note, decision.made_at))
    return found


def approve(
    connection: Connection,
    *,
    review_id: int,
    person: Person,
    note: str = "",
    key: str | None = None,
    at: datetime | None = None,
) -> Decided:
    """Lets a correction stand that somebody else has asked for.

    Raises:
        AccessError: not an approver of this site, or the very person who asked for it.
        ConflictError: nothing waits there, or the record has changed since.
    """
    at = at or now()
    case, asked, key, done = _second(connection, "approve", review_id, person, key)
    if done is not None:
        return told_of(connection, done)
    base = base_of(connection, case, asked.counted_at, elsewhere=True)
    adjusted = _adjusted(connection, asked.id)
    if not effects.same_stock(connection, adjusted, base):
        raise ConflictError(f"The record of bin {case.bin} has changed since.", hint="Reject it: it is counted anew.")
    decision_id = write(connection, review_id=review_id, person=person, key=key, kind="approve", note=note, at=at)
    _set(connection, asked.id, state="approved", settled_at=at, approved_by_id=person.id)
    before, lines = lines_of(connection, adjusted), effects.plain_lines(asked.lines)
    record_id = settle(connection, case, asked.id, before, asked.count, lines, asked.counted_at, at)
    effects.close(connection, case, state="closed", at=at)
    told = Decided(
        decision_id=decision_id,
        review_id=review_id,
        kind="approve",
        state="closed",
        count=asked.count,
        changes=told_of(connection, asked).changes,
        record_id=record_id,
    )
    return _audited(connection, case, person, told, note, asked, at)


def reject(
    connection: Connection,
    *,
    review_id: int,
    person: Person,
    note: str = "",
    key: str | None = None,
    at: datetime | None = None,
) -> Decided:
    """Refuses a correction: nothing changes, and somebody else counts without seeing the record.

    Raises:
        AccessError, ConflictError: as `approve`.
    """
    at = at or now()
    case, asked, key, done = _second(connection, "reject", review_id, person, key)
    if done is not None:
        return told_of(connection, done)
    decision_id = write(connection, review_id=review_id, person=person, key=key, kind="reject", note=note, at=at)
    _set(connection, asked.id, state="rejected", settled_at=at)
    effects.close(connection, case, state="closed", at=at)
    next_id = effects.open_round(connection, case, reason=RECOUNT, blind=True, at=at)
    told = Decided(decision_id=decision_id, review_id=review_id, kind="reject", state="closed", next_review_id=next_id)
    return _audited(connection, case, person, told, note, asked, at)


def _second(
    connection: Connection, kind: str, review_id: int, person: Person, key: str | None
) -> tuple[Case, Any, str, Any]:
    case = locked(connection, review_id)
    person.need("approver", site_id=case.site.id)
    asked = _asked(connection, review_id)
    if asked is None:
        raise ConflictError(f"Nothing waits for a second person at bin {case.bin}.", hint=_NEXT)
    key = key or f"{kind}:{asked.id}"
    done = by_key(connection, key)
    if done is not None and (done.review_id, done.person_id, done.kind) == (review_id, person.id, kind):
        return case, asked, key, done
    if case.state != "waiting":
        raise ConflictError(f"Nothing waits for a second person at bin {case.bin}.", hint=_NEXT)
    if done is not None:
        raise ConflictError(f"The key {key!r} was used for something else.", hint="Use another key.")
    if asked.person_id == person.id:
        raise AccessError(f"{person.name} asked for it; a second person must say yes.", hint="Ask another approver.")
    return case, asked, key, None


def _asked(connection: Connection, review_id: int) -> Any:
    """The correction that waits in a review, or waited."""
    decision, undo = schema.Decision, aliased(schema.Decision)
    query = (
        select(decision.__table__)
        .where(decision.review_id == review_id, decision.kind == "correct")
        .where(~exists().where(undo.undoes_id == decision.id))
        .order_by(decision.id.desc())
        .limit(1)
    )
    return connection.execute(query).one_or_none()


def _adjusted(connection: Connection, decision_id: int) -> int:
    adjustment = schema.Adjustment
    query = select(adjustment.record_id).where(adjustment.decision_id == decision_id).limit(1)
    return int(connection.execute(query).scalar_one())


def _set(connection: Connection, decision_id: int, **values: object) -> None:
    adjustment = schema.Adjustment
    connection.execute(update(adjustment).where(adjustment.decision_id == decision_id).values(**values))


def _audited(
    connection: Connection, case: Case, person: Person, told: Decided, note: str, asked: Any, at: datetime
) -> Decided:
    body = msgspec.to_builtins(told) | {"note": note, "of": asked.id}
    audit.append(connection, actor=person.name, action=f"review.{told.kind}", subject=case.subject, body=body, at=at)
    return told


_NEXT = "`bintally review list --waiting` shows what does."
