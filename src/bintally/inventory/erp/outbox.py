"""The outbox: what stock systems are still to be told, in order, and what became of it.

An adjustment stands in the same transaction as the decision that asks for it (`review.decisions`), so nothing that was
decided can be lost on its way here. `fill` makes postings of the adjustments, `due` hands out what may be sent now,
`settle` and `postpone` write down what became of it: each in the caller's transaction.

```
waiting ──> posted                 the stock system says so
   │  ├───> stale, refused ──┐     a person has to act; later postings of the bin wait
   │  │          └── retry ──┘─> waiting
   │  └───> cancelled              its decision was undone before it was posted
   └──────> dropped                a person said so
```

After Hohpe & Woolf (2003), Enterprise Integration Patterns: Guaranteed Delivery; Richardson (2018), Microservices
Patterns: Transactional Outbox.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Select, and_, exists, func, insert, select, update
from sqlalchemy.orm import aliased

from bintally.database import audit
from bintally.database.inserts import add_if_new
from bintally.inventory import schema
from bintally.inventory.erp.connections import ErpConnection
from bintally.inventory.erp.protocol import KEY, Kind, Line, Posting
from bintally.inventory.people import SYSTEM

OPEN: Final = ("waiting", "stale", "refused")
"""States of postings that are not over: later ones of their bin wait for them."""

_PREFIX: Final = "bintally-"


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """A posting that may be sent now. `tried`: how often it was begun before; `failed`: in a row."""

    id: int
    bin_id: int
    posting: Posting
    tried: int
    failed: int
    made_at: datetime


def fill(connection: Connection, to: ErpConnection, *, at: datetime) -> int:
    """Makes postings of the corrections that `to` has not been told; how many.

    An undone correction that was never begun, or is known not to have been posted, is cancelled; else it is taken back
    by a posting of its own.
    """
    made = sum(_add(connection, to, row, "adjust", at) for row in connection.execute(_corrections(to)).all())
    for row in connection.execute(_undone(to)).all():
        if _cancel(connection, row, at):
            continue
        made += _add(connection, to, row, "reverse", at)
    return made


def due(connection: Connection, to: ErpConnection, *, at: datetime, limit: int = 100) -> list[Due]:
    """The next posting of each bin, where its time has come, the oldest first; from now on they count as begun.

    What would take back something that was never posted is cancelled instead.
    """
    posting, before = schema.Posting, aliased(schema.Posting)
    waits = exists().where(
        before.connection_id == to.id,
        before.bin_id == posting.bin_id,
        before.id < posting.id,
        before.state.in_(OPEN),
    )
    query = (
        select(posting.__table__)
        .where(posting.connection_id == to.id, posting.state == "waiting", posting.next_at <= at, ~waits)
        .order_by(posting.id)
        .limit(limit)
    )
    rows = [row for row in connection.execute(query).all() if not _is_idle(connection, row, at)]
    ids = [row.id for row in rows]
    connection.execute(update(posting).where(posting.id.in_(ids)).values(tried=posting.tried + 1))
    note_steps(connection, ((row.id, "begun", {"tried": row.tried + 1}) for row in rows), at=at)
    return [
        Due(
            id=row.id,
            bin_id=row.bin_id,
            posting=msgspec.json.decode(row.body, type=Posting),
            tried=row.tried,
            failed=row.failed,
            made_at=row.made_at,
        )
        for row in rows
    ]


def settle(
    connection: Connection,
    each: Due,
    *,
    state: str,
    at: datetime,
    reason: str = "",
    reference: str | None = None,
    body: Mapping[str, Any] | None = None,
    by: str = SYSTEM,
) -> None:
    """Writes down how a posting ended: posted, stale or refused (those wait for a person); with the audit's line."""
    over = {"settled_at": at} if state not in OPEN else {}
    values = {"state": state, "reason": reason, "failed": 0, **over}
    if reference is not None:
        values["reference"] = reference
    posting = schema.Posting
    connection.execute(update(posting).where(posting.id == each.id).values(**values))
    note_steps(connection, [(each.id, state, dict(body or {}) | {"reason": reason})], at=at)
    told = {"key": each.posting.key, "reference": reference, "reason": reason}
    told |= {"lines": msgspec.to_builtins(each.posting.lines)}
    subject = f"bin:{each.posting.site}/{each.posting.bin}"
    audit.append(connection, actor=by, action=f"erp.{state}", subject=subject, body=told, at=at)


def postpone(
    connection: Connection, each: Due, *, reason: str, next_at: datetime, at: datetime, is_over: bool = False
) -> None:
    """Writes down that a try came to nothing, and when the next one is; `is_over`: a person has to look."""
    posting = schema.Posting
    values = {"failed": posting.failed + 1, "reason": reason, "next_at": next_at}
    if is_over:
        values["state"] = "refused"
    connection.execute(update(posting).where(posting.id == each.id).values(**values))
    note_steps(connection, [(each.id, "failed", {"reason": reason, "next_at": next_at})], at=at)


def prepared(connection: Connection, drafts: Mapping[int, tuple[str, Any]], *, at: datetime) -> None:
    """Writes down under which number the stock system has a draft of what, by the postings' ids."""
    posting = schema.Posting
    for posting_id, (reference, _) in drafts.items():
        connection.execute(update(posting).where(posting.id == posting_id).values(reference=reference))
    steps = ((key, "prepared", {"reference": told, "lines": lines}) for key, (told, lines) in drafts.items())
    note_steps(connection, steps, at=at)


def note_steps(connection: Connection, steps: Iterable[tuple[int, str, Mapping[str, Any]]], *, at: datetime) -> None:
    """Adds what happened to postings: (their id, the step, what was sent or answered)."""
    rows = [
        {"posting_id": posting_id, "at": at, "step": step, "body": msgspec.json.encode(body, order="sorted").decode()}
        for posting_id, step, body in steps
    ]
    if rows:
        connection.execute(insert(schema.PostingStep), rows)


def key_of(connection_name: str, decision_key: str, kind: Kind) -> str:
    """A posting's key: the same wherever and whenever it is made from the same decision, also after a restore."""
    told = "\0".join((connection_name, decision_key, kind))
    return (_PREFIX + hashlib.sha256(told.encode()).hexdigest())[:KEY]


def _corrections(to: ErpConnection) -> Select[Any]:
    """Decisions whose adjustments stand, of which nothing was told yet, in the order in which they came to stand."""
    adjustment = schema.Adjustment
    return (
        _decisions()
        .where(adjustment.state == "approved", schema.Bin.site_id == to.site_id, adjustment.settled_at >= to.since)
        .where(~_told(to, "adjust"))
    )


def _undone(to: ErpConnection) -> Select[Any]:
    """Decisions that were undone after a posting was made of them, and not taken back yet."""
    posting = schema.Posting
    mine = aliased(posting)
    return (
        _decisions()
        .join(mine, and_(mine.decision_id == schema.Decision.id, mine.connection_id == to.id, mine.kind == "adjust"))
        .add_columns(mine.id.label("posting_id"), mine.key.label("posting_key"), mine.state.label("posting_state"))
        .add_columns(mine.tried.label("posting_tried"))
        .group_by(mine.id, mine.key, mine.state, mine.tried)
        .where(schema.Adjustment.state == "undone", mine.state.not_in(("cancelled", "dropped")))
        .where(~_told(to, "reverse"))
    )


def _decisions() -> Any:
    adjustment, decision, bins, person = schema.Adjustment, schema.Decision, schema.Bin, schema.Person
    second = aliased(person)
    return (
        select(
            decision.id.label("decision_id"),
            decision.key,
            decision.note,
            decision.counted_at,
            bins.id.label("bin_id"),
            bins.code.label("bin"),
            schema.Site.code.label("site"),
            person.name.label("by"),
            second.name.label("approved_by"),
            func.max(adjustment.settled_at).label("settled_at"),
        )
        .join(decision, decision.id == adjustment.decision_id)
        .join(bins, bins.id == adjustment.bin_id)
        .join(schema.Site, schema.Site.id == bins.site_id)
        .join(person, person.id == decision.person_id)
        .outerjoin(second, second.id == adjustment.approved_by_id)
        .group_by(decision.id, bins.id, schema.Site.code, person.name, second.name)
        .order_by(func.max(adjustment.settled_at), decision.id)
    )


def _told(to: ErpConnection, kind: Kind) -> Any:
    posting = schema.Posting
    return exists().where(
        posting.connection_id == to.id, posting.decision_id == schema.Decision.id, posting.kind == kind
    )


def _add(connection: Connection, to: ErpConnection, row: Any, kind: Kind, at: datetime) -> int:
    reverses_id, reverses = (row.posting_id, row.posting_key) if kind == "reverse" else (None, None)
    key = key_of(to.name, row.key, kind)
    body = Posting(
        key=key,
        kind=kind,
        site=row.site,
        bin=row.bin,
        lines=_lines(connection, row.decision_id, kind),
        counted_at=row.counted_at,
        by=row.by,
        approved_by=row.approved_by,
        note=row.note,
        reverses=reverses,
    )
    values = {
        "connection_id": to.id,
        "bin_id": row.bin_id,
        "decision_id": row.decision_id,
        "reverses_id": reverses_id,
        "key": key,
        "kind": kind,
        "body": msgspec.json.encode(body).decode(),
        "state": "waiting",
        "reason": "",
        "tried": 0,
        "failed": 0,
        "next_at": at,
        "made_at": at,
    }
    added = add_if_new(connection, schema.Posting, values, unique=("connection_id", "decision_id", "kind"))
    if added is None:  # another one is just filling the outbox
        return 0
    note_steps(connection, [(added, "made", {"decision": row.decision_id})], at=at)
    return 1


def _lines(connection: Connection, decision_id: int, kind: Kind) -> tuple[Line, ...]:
    adjustment, product = schema.Adjustment, schema.Product
    rows = connection.execute(
        select(product.sku, adjustment.before, adjustment.after)
        .outerjoin(product, product.id == adjustment.product_id)
        .where(adjustment.decision_id == decision_id)
        .order_by(product.sku)
    )
    told = (Line(row.sku, row.before, row.after) for row in rows)
    return tuple(Line(line.product, line.after, line.before) if kind == "reverse" else line for line in told)


def _cancel(connection: Connection, row: Any, at: datetime) -> bool:
    """Cancels the posting of an undone decision, where it is sure that the stock system has not carried it out."""
    if row.posting_state == "posted" or (row.posting_state == "waiting" and row.posting_tried):
        return False
    _over(connection, [row.posting_id], "its decision was undone", at)
    return True


def _is_idle(connection: Connection, row: Any, at: datetime) -> bool:
    """Whether there is nothing to take back; then it is cancelled."""
    if row.reverses_id is None:
        return False
    posting = schema.Posting
    state = connection.execute(select(posting.state).where(posting.id == row.reverses_id)).scalar_one()
    if state == "posted":
        return False
    _over(connection, [row.id], "what it takes back was never posted", at)
    return True


def _over(connection: Connection, posting_ids: Sequence[int], reason: str, at: datetime) -> None:
    posting = schema.Posting
    values = {"state": "cancelled", "reason": reason, "settled_at": at}
    connection.execute(update(posting).where(posting.id.in_(posting_ids)).values(**values))
    note_steps(connection, ((each, "cancelled", {"reason": reason}) for each in posting_ids), at=at)
