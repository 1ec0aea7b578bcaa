"""Taking a decision back: what it did is undone by something new, and nothing is deleted."""

from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, exists, func, select, update
from sqlalchemy.orm import aliased

from bintally.database import audit
from bintally.database.types import now
from bintally.errors import ConflictError, UsageError
from bintally.inventory import schema
from bintally.inventory.intake import lines_of
from bintally.inventory.ledger import Site
from bintally.inventory.people import Person
from bintally.inventory.review import effects
from bintally.inventory.review.case import TELLING, Case, locked
from bintally.inventory.review.decisions import Decided, by_key, told_of, write

CAN_BE_UNDONE: Final = (*TELLING, "recount", "count")

RESTORED: Final = "undo:"
"""What the key of a record that an undo has restored begins with; the undo's number follows."""


def undo(
    connection: Connection,
    *,
    decision_id: int,
    person: Person,
    note: str = "",
    key: str | None = None,
    at: datetime | None = None,
) -> Decided:
    """Takes a decision back: adjustments are undone, the record says again what it said, the label is withdrawn.

    The review is open again, unless a newer one of the bin is. It takes whoever decided, or an approver; an approver
    where one has approved. It can't be undone itself: decide again.

    Raises:
        UsageError: no such decision, or none that can be undone.
        AccessError: somebody else's decision.
        ConflictError: undone already, refused, or settled since, by a later version of the record or another count.
    """
    at = at or now()
    decision = schema.Decision.__table__
    row = connection.execute(select(decision).where(decision.c.id == decision_id)).one_or_none()
    if row is None:
        raise UsageError(f"There is no decision {decision_id}.", hint="Say the number that deciding it told.")
    case = locked(connection, row.review_id)
    own = row.person_id == person.id and not _was_approved(connection, decision_id)
    person.need("reviewer" if own else "approver", site_id=case.site.id)
    key = key or f"undo:{decision_id}"
    done = by_key(connection, key)
    if done is not None and (done.undoes_id, done.person_id) == (decision_id, person.id):
        return told_of(connection, done)
    if row.kind not in CAN_BE_UNDONE:
        raise UsageError(f"What can be undone is a decision, not {row.kind!r}.", hint="Decide again instead.")
    _check(connection, case, row, key, done)
    _close_next(connection, case, row, at)
    undone_id = write(
        connection, review_id=case.review_id, person=person, key=key, kind="undo", note=note, undoes_id=row.id, at=at
    )
    record_id = _restore(connection, case, row, undone_id, at)
    _withdraw(connection, row.id, at)
    withdrawn = case.state == "withdrawn" or _has_newer(connection, case)
    state = "withdrawn" if withdrawn else "open"
    effects.close(connection, case, state=state, at=at)
    told = Decided(decision_id=undone_id, review_id=case.review_id, kind="undo", state=state, record_id=record_id)
    body = msgspec.to_builtins(told) | {"note": note, "undoes": row.id, "kind": row.kind}
    audit.append(connection, actor=person.name, action="review.undo", subject=case.subject, body=body, at=at)
    return told


def last_of(connection: Connection, person: Person, site: Site) -> int | None:
    """The last decision of `person` at a site that could be undone; None: there is none."""
    decision, undone = schema.Decision, aliased(schema.Decision)
    query = (
        select(decision.id)
        .join(schema.Review, schema.Review.id == decision.review_id)
        .join(schema.Bin, schema.Bin.id == schema.Review.bin_id)
        .where(schema.Bin.site_id == site.id, decision.person_id == person.id, decision.kind.in_(CAN_BE_UNDONE))
        .where(~exists().where(undone.undoes_id == decision.id))
        .order_by(decision.id.desc())
        .limit(1)
    )
    return connection.execute(query).scalar_one_or_none()


def _check(connection: Connection, case: Case, row: Any, key: str, done: Any) -> None:
    decision = schema.Decision
    if connection.execute(select(exists().where(decision.undoes_id == row.id))).scalar_one():
        raise ConflictError(f"Decision {row.id} was undone already.", hint="Decide again instead.")
    if done is not None:
        raise ConflictError(f"The key {key!r} was used for something else.", hint="Use another key.")
    refused = exists().where(decision.review_id == row.review_id, decision.kind == "reject", decision.id > row.id)
    if connection.execute(select(refused)).scalar_one():
        raise ConflictError(f"Decision {row.id} was refused: there is nothing to undo.", hint="Somebody counts anew.")
    if row.kind in ("accept", "correct") and _is_settled(connection, case, row):
        raise ConflictError(
            f"The record of bin {case.bin} has a later version: what was decided is settled.",
            hint="Reconcile again, and decide about that one.",
        )


def _is_settled(connection: Connection, case: Case, row: Any) -> bool:
    """Whether a later version of the record followed on the one that was decided about, or made."""
    record = schema.StockRecord
    made = select(func.max(record.id)).where(record.bin_id == case.bin_id, record.key == f"review:{row.id}")
    last = connection.execute(made).scalar_one() or _base_id(connection, case, row)
    since = connection.execute(select(record.effective_at).where(record.id == last)).scalar_one()
    later = exists().where(record.bin_id == case.bin_id, record.id > last, record.effective_at >= since)
    return bool(connection.execute(select(later)).scalar_one())


def _base_id(connection: Connection, case: Case, row: Any) -> int:
    adjustment = schema.Adjustment
    held = select(adjustment.record_id).where(adjustment.decision_id == row.id).limit(1)
    found = connection.execute(held).scalar_one_or_none()
    if found is not None:
        return int(found)
    record = schema.StockRecord
    in_force = (
        select(record.id)
        .where(record.bin_id == case.bin_id, record.effective_at <= row.counted_at, record.received_at <= row.made_at)
        .order_by(record.effective_at.desc(), record.id.desc())
        .limit(1)
    )
    return int(connection.execute(in_force).scalar_one_or_none() or case.record_id)


def _close_next(connection: Connection, case: Case, row: Any, at: datetime) -> None:
    """Withdraws the review that the decision has opened for somebody else, unless that one has been decided."""
    if row.kind not in ("recount", "count"):
        return
    review = schema.Review
    mine = select(review.round).where(review.id == case.review_id).scalar_subquery()
    later = connection.execute(
        select(review.id, review.state).where(review.verdict_id == case.verdict_id, review.round > mine)
    ).all()
    if any(each.state in ("closed", "waiting") for each in later):
        raise ConflictError(f"Somebody has counted bin {case.bin} since.", hint="That has to be undone first.")
    values = {"state": "withdrawn", "closed_at": at, "lease_person_id": None, "lease_until": None, "lease_token": None}
    is_open = review.id.in_([each.id for each in later]) & (review.state == "open")
    connection.execute(update(review).where(is_open).values(**values))


def _restore(connection: Connection, case: Case, row: Any, undone_id: int, at: datetime) -> int | None:
    """A version of the record that says what it said before a correction that stood; its id."""
    adjustment, record = schema.Adjustment, schema.StockRecord
    stood = connection.execute(
        select(adjustment.record_id).where(adjustment.decision_id == row.id, adjustment.state == "approved").limit(1)
    ).scalar_one_or_none()
    undone = update(adjustment).where(adjustment.decision_id == row.id).values(state="undone", settled_at=at)
    connection.execute(undone)
    if stood is None:
        return None
    quantity = connection.execute(select(record.quantity).where(record.id == stood)).scalar_one()
    return effects.correct_record(
        connection,
        case,
        key=f"{RESTORED}{undone_id}",
        quantity=quantity,
        lines=lines_of(connection, stood),
        effective_at=row.counted_at,
        at=at,
    )


def _withdraw(connection: Connection, decision_id: int, at: datetime) -> None:
    label = schema.Label
    connection.execute(update(label).where(label.decision_id == decision_id).values(withdrawn_at=at))


def _has_newer(connection: Connection, case: Case) -> bool:
    review = schema.Review
    other = exists().where(
        review.bin_id == case.bin_id, review.id != case.review_id, review.state.in_(("open", "waiting"))
    )
    return bool(connection.execute(select(other)).scalar_one())


def _was_approved(connection: Connection, decision_id: int) -> bool:
    adjustment = schema.Adjustment
    approved = exists().where(adjustment.decision_id == decision_id, adjustment.approved_by_id.is_not(None))
    return bool(connection.execute(select(approved)).scalar_one())
