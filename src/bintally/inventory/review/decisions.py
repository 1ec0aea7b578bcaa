"""What people decide about a bin, and what follows in the same transaction: all of it or nothing.

A blind count settles a review where it agrees with the record (within the policy's tolerance) or with another blind
count; else somebody else counts, and where two blind counts disagree an approver decides. Counting again by another
person without sight of the record is what cycle counting asks for (Piasecki 2003, Inventory Accuracy).
"""

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, insert, select

from bintally.database import audit
from bintally.database.types import now
from bintally.errors import ConflictError
from bintally.inventory import schema
from bintally.inventory.people import Person
from bintally.inventory.policy.settings import PolicySettings
from bintally.inventory.review import effects, leases
from bintally.inventory.review.case import DISAGREED, RECOUNT, Case, locked, settings_of
from bintally.inventory.review.effects import Change
from bintally.inventory.review.findings import Asked, Found, Kind, asked_of, find
from bintally.inventory.review.shown import blind_counts

LABELS: Final = {"accept": "confirmed", "correct": "corrected"}
"""Labels that are not called as the decision is."""


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided. Of a blind review it tells only the count, so that nobody learns what the record says.

    `state`: the review's; `changes`: of stock, proposed where `state` is "waiting"; `record_id`: the record's new
    version; `next_review_id`: somebody else looks; `is_new` False: it had been decided before, by the same key.
    """

    decision_id: int
    review_id: int
    kind: str
    state: str
    count: int | None = None
    changes: tuple[Change, ...] = ()
    record_id: int | None = None
    next_review_id: int | None = None
    is_new: bool = True


def decide(
    connection: Connection,
    *,
    review_id: int,
    person: Person,
    token: str,
    kind: Kind,
    count: int | None = None,
    lines: Mapping[str, int] | None = None,
    note: str = "",
    key: str | None = None,
    at: datetime | None = None,
    counted_at: datetime | None = None,
) -> Decided:
    """Decides a review that `person` has taken with `token`.

    `accept`: the record is right. `correct`: the bin holds `count` items, or `lines` of each product (SKU). `recount`:
    somebody else counts without seeing the record. `uncountable`, `not_this_bin`: the photo can't tell. A blind review
    takes a count (`correct`), and those two. `counted_at`: when the bin held that, where it was counted at the bin;
    None: it was read off the photo. Asked again with the same `key` (None: the lease's own), it returns what was
    decided.

    Raises:
        UsageError: no such review, or a decision that makes no sense.
        AccessError: not a reviewer of this site.
        ConflictError: the lease has ended, the record has changed, or the key was used for something else.
    """
    at = at or now()
    asked = asked_of(kind, count, lines)
    case = locked(connection, review_id)
    person.need("approver" if case.reason == DISAGREED else "reviewer", site_id=case.site.id)
    key = key or f"lease:{token}"
    done = by_key(connection, key)
    if done is not None:
        return _again(connection, done, case, person, asked)
    leases.check(case, person, token, at)
    found = find(connection, case, asked, at, counted_at)
    decision_id = write(
        connection,
        review_id=review_id,
        person=person,
        key=key,
        kind=found.kind,
        count=found.count,
        lines=found.lines,
        note=note,
        counted_at=found.counted_at,
        at=at,
    )
    told = _carry_out(connection, case, found, decision_id, at)
    body = msgspec.to_builtins(told) | {"note": note, "reason": case.reason, "blind": case.blind}
    audit.append(connection, actor=person.name, action=f"review.{found.kind}", subject=case.subject, body=body, at=at)
    return blinded(told) if case.blind else told


def write(
    connection: Connection,
    *,
    review_id: int,
    person: Person,
    key: str,
    kind: str,
    at: datetime,
    count: int | None = None,
    lines: Mapping[str, int] | None = None,
    note: str = "",
    counted_at: datetime | None = None,
    undoes_id: int | None = None,
) -> int:
    """The decision's row; its id."""
    values = {
        "review_id": review_id,
        "person_id": person.id,
        "key": key,
        "kind": kind,
        "count": count,
        "lines": None if lines is None else json.dumps(lines, sort_keys=True, ensure_ascii=False),
        "note": note,
        "undoes_id": undoes_id,
        "counted_at": counted_at,
        "made_at": at,
    }
    added = insert(schema.Decision).values(**values).returning(schema.Decision.id)
    return int(connection.execute(added).scalar_one())


def by_key(connection: Connection, key: str) -> Any:
    """The decision under a key; None: there is none yet."""
    return connection.execute(select(schema.Decision.__table__).where(schema.Decision.key == key)).one_or_none()


def blinded(told: Decided) -> Decided:
    """As much of a decision as a person may learn who counts blind."""
    if told.kind not in ("accept", "correct", "count"):
        return told
    return Decided(
        decision_id=told.decision_id,
        review_id=told.review_id,
        kind="count",
        state="closed",
        count=told.count,
        is_new=told.is_new,
    )


def told_of(connection: Connection, decision: Any, *, is_new: bool = False) -> Decided:
    """A decision as it was told when it was made, from its row; of approvals, the changes of what was approved."""
    review, adjustment, product = schema.Review, schema.Adjustment, schema.Product
    state = connection.execute(select(review.state).where(review.id == decision.review_id)).scalar_one()
    rows = connection.execute(
        select(product.sku, adjustment.before, adjustment.after, adjustment.value)
        .outerjoin(product, product.id == adjustment.product_id)
        .where(adjustment.decision_id == decision.id)
        .order_by(product.sku)
    )
    record = schema.StockRecord
    made = select(record.id).join(review, review.bin_id == record.bin_id).where(review.id == decision.review_id)
    return Decided(
        decision_id=decision.id,
        review_id=decision.review_id,
        kind=decision.kind,
        state=state,
        count=decision.count,
        changes=tuple(
            Change(row.sku, row.before, row.after, None if row.value is None else float(row.value)) for row in rows
        ),
        record_id=connection.execute(made.where(record.key == f"review:{decision.id}")).scalar_one_or_none(),
        is_new=is_new,
    )


def _again(connection: Connection, done: Any, case: Case, person: Person, asked: Asked) -> Decided:
    kinds = {"correct": ("correct", "accept", "count")}.get(asked.kind, (asked.kind,))
    same = (done.review_id, done.person_id) == (case.review_id, person.id) and done.kind in kinds
    if not same or (asked.count is not None and done.count != asked.count):
        raise ConflictError(
            f"Bin {case.bin} was decided already with this key, and otherwise.", hint="Undo that, or use another key."
        )
    told = told_of(connection, done)
    return blinded(told) if case.blind else told


def _carry_out(connection: Connection, case: Case, found: Found, decision_id: int, at: datetime) -> Decided:
    told = Decided(
        decision_id=decision_id, review_id=case.review_id, kind=found.kind, state="closed", count=found.count
    )
    if found.kind == "correct":
        return _correct(connection, case, found, told, at)
    effects.close(connection, case, state="closed", at=at)
    if found.kind in ("recount", "count"):
        disagreed = found.kind == "count" and len(blind_counts(connection, case)) > 1
        next_id = effects.open_round(
            connection, case, reason=DISAGREED if disagreed else RECOUNT, blind=not disagreed, at=at
        )
        return msgspec.structs.replace(told, next_review_id=next_id)
    label(connection, case, decision_id, found.kind, found.count, found.counted_at, at)
    return told


def _correct(connection: Connection, case: Case, found: Found, told: Decided, at: datetime) -> Decided:
    base, count = found.base, found.count
    assert base is not None and count is not None and found.counted_at is not None  # noqa: S101
    changes = effects.changes_of(found.before, base.quantity, count, found.lines)
    valued = effects.valued(connection, case, found.before, changes)
    stands = found.agreed or not _needs_second(
        settings_of(connection, case.policy_sha256), case, [value for _, _, value in valued]
    )
    effects.adjust(
        connection, case, decision_id=told.decision_id, record_id=base.id, changes=valued, stands=stands, at=at
    )
    effects.close(connection, case, state="closed" if stands else "waiting", at=at)
    record_id = None
    if stands:
        record_id = settle(connection, case, told.decision_id, found.before, count, found.lines, found.counted_at, at)
    return msgspec.structs.replace(
        told,
        state="closed" if stands else "waiting",
        changes=tuple(change for _, change, _ in valued),
        record_id=record_id,
    )


def settle(
    connection: Connection,
    case: Case,
    decision_id: int,
    before: Mapping[str, int],
    count: int,
    lines: Mapping[str, int] | None,
    counted_at: datetime,
    at: datetime,
) -> int:
    """What a correction does once it stands: the record's new version (its id), and the label."""
    label(connection, case, decision_id, "correct", count, counted_at, at)
    return effects.correct_record(
        connection,
        case,
        key=f"review:{decision_id}",
        quantity=count,
        lines=effects.lines_after(before, count, lines),
        effective_at=counted_at,
        at=at,
    )


def label(
    connection: Connection,
    case: Case,
    decision_id: int,
    kind: str,
    count: int | None,
    counted_at: datetime | None,
    at: datetime,
) -> None:
    """Labels the photo by a decision that stands."""
    named = LABELS.get(kind, kind)
    effects.label(connection, case, decision_id=decision_id, kind=named, count=count, counted_at=counted_at, at=at)


def _needs_second(settings: PolicySettings, case: Case, values: list[Decimal | None]) -> bool:
    """Whether a correction needs a second person: by what it changes in money, never netted, or by the verdict."""
    limit = settings.second_approval_above
    if case.verdict.second_approval:
        return True
    if limit is None:
        return False
    gross = sum((abs(value) for value in values if value is not None), Decimal(0))
    return None in values or gross >= limit
