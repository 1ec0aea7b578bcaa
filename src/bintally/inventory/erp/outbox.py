"""The outbox: what stock systems are still to be told, in order, and what became of it.

An adjustment stands in the same transaction as the decision that asks for it (`review.decisions`), so nothing that was
decided can be lost on its way here. `filling.fill` makes postings of the adjustments, `due` hands out what may be sent
now, `settle` and `postpone` write down what became of it: each in the caller's transaction.

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
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, and_, bindparam, exists, func, insert, or_, select, update
from sqlalchemy.orm import aliased

from bintally.database import audit
from bintally.errors import ConflictError
from bintally.inventory import schema
from bintally.inventory.erp.connections import ErpConnection
from bintally.inventory.erp.protocol import KEY, Kind, Line, Posting
from bintally.inventory.people import SYSTEM

OPEN: Final = ("waiting", "stale", "refused")
"""States of postings that are not over: later ones of their bin wait for them."""

LONGEST_PAUSE: Final = timedelta(hours=1)
"""No posting waits longer for its next try; one that would has been told so by a clock that was wrong."""

UNDONE: Final = "its decision was undone"

_PREFIX: Final = "bintally-"


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """A posting that may be sent now. `tried`: how often it was begun before; `failed`: in a row."""

    id: int
    bin_id: int
    decision_id: int
    posting: Posting
    tried: int
    failed: int
    made_at: datetime


def due(connection: Connection, to: ErpConnection, *, at: datetime, limit: int | None = 100) -> list[Due]:
    """The next posting of each bin, where its time has come, the oldest first; from now on they count as begun."""
    posting, before = schema.Posting, aliased(schema.Posting)
    waits = exists().where(
        before.connection_id == to.id,
        before.bin_id == posting.bin_id,
        before.id < posting.id,
        before.state.in_(OPEN),
    )
    its_time = or_(posting.next_at <= at, posting.next_at > at + LONGEST_PAUSE)
    query = (
        select(posting.__table__)
        .where(posting.connection_id == to.id, posting.state == "waiting", its_time, ~waits)
        .order_by(posting.id)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    begin = update(posting).where(posting.id == bindparam("begun")).values(tried=posting.tried + 1)
    if rows:
        connection.execute(begin, [{"begun": row.id} for row in rows])
    note_steps(connection, ((row.id, "begun", {"tried": row.tried + 1}) for row in rows), at=at)
    taken_back = {
        row.reverses_id: _posted_lines(connection, row.reverses_id) for row in rows if row.reverses_id is not None
    }
    return [
        Due(
            id=row.id,
            bin_id=row.bin_id,
            decision_id=row.decision_id,
            posting=_meant(row.body, taken_back.get(row.reverses_id)),
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
    is_known: bool = True,
) -> None:
    """Writes down how a posting ended: posted, stale or refused (those wait for a person); with the audit's line.

    Stale or refused, it was not carried out, and where its decision was undone meanwhile, that is its end; `is_known`
    False: an earlier try may have carried it out.
    """
    lines = _sent(connection, each, reference) if state == "posted" else each.posting.lines
    told = {"reason": reason, "lines": msgspec.to_builtins(lines)}
    note_steps(connection, [(each.id, state, dict(body or {}) | told)], at=at)
    values = {"state": state, "reason": reason, "failed": 0 if is_known else max(each.failed, 1)}
    if reference is not None:
        values["reference"] = reference
    posting = schema.Posting
    connection.execute(update(posting).where(posting.id == each.id).values(**values))
    if state not in OPEN:
        connection.execute(update(posting).where(posting.id == each.id).values(settled_at=at))
    elif is_known and taken_back(connection, [each.id]):
        end(connection, [each.id], "cancelled", UNDONE, at)
    subject = f"bin:{each.posting.site}/{each.posting.bin}"
    told |= {"key": each.posting.key, "reference": reference}
    audit.append(connection, actor=SYSTEM, action=f"erp.{state}", subject=subject, body=told, at=at)


def postpone(
    connection: Connection,
    each: Due,
    *,
    reason: str,
    next_at: datetime,
    at: datetime,
    is_failure: bool = True,
    is_answered: bool = False,
    is_over: bool = False,
) -> None:
    """Writes down that a try came to nothing, and when the next one is.

    `is_failure`: it was this posting that failed, not the whole stock system; `is_answered`: the stock system says that
    it has not carried it out; `is_over`: a person has to look, and
    nobody knows what became of it.
    """
    posting = schema.Posting
    next_at = min(next_at, at + LONGEST_PAUSE)
    values: dict[str, Any] = {"reason": reason, "next_at": next_at}
    if is_failure:
        values["failed"] = posting.failed + 1
    if is_over:
        values["state"] = "refused"
    connection.execute(update(posting).where(posting.id == each.id).values(**values))
    note_steps(
        connection, [(each.id, "failed", {"reason": reason, "next_at": next_at, "answered": is_answered})], at=at
    )


def prepared(connection: Connection, drafts: Mapping[int, tuple[str, Any]], *, at: datetime) -> None:
    """Writes down under which number the stock system has a draft of what, by the postings' ids.

    Raises:
        ConflictError: they are not waiting any more: another relay, or a person, was at it.
    """
    posting = schema.Posting
    waiting = select(func.count()).where(posting.id.in_(list(drafts)), posting.state == "waiting")
    if connection.execute(waiting).scalar_one() != len(drafts):
        raise ConflictError("Somebody else has ended what is just being posted.", hint="Run it again.")
    for posting_id, (reference, _) in drafts.items():
        connection.execute(update(posting).where(posting.id == posting_id).values(reference=reference))
    steps = ((key, "prepared", {"reference": told, "lines": lines}) for key, (told, lines) in drafts.items())
    note_steps(connection, steps, at=at)


def end(connection: Connection, posting_ids: Sequence[int], state: str, reason: str, at: datetime) -> None:
    """Ends postings that were not carried out, as cancelled or dropped; what would take them back is cancelled too."""
    if not posting_ids:
        return
    posting = schema.Posting
    _end(connection, posting_ids, state, reason, at)
    backs = select(posting.id).where(posting.reverses_id.in_(posting_ids), posting.state.in_(OPEN))
    idle = connection.execute(backs).scalars().all()
    end(connection, idle, "cancelled", "what it takes back was never posted", at)


def is_unsent(state: str, tried: int, failed: int) -> bool:
    """Whether it is sure that the stock system has not carried a posting out, and will not."""
    never_begun = state == "waiting" and not tried
    return never_begun or (state in ("stale", "refused") and not failed)  # else nobody knows


def was_unanswered(connection: Connection, posting_id: int) -> bool:
    """Whether a try before this one may have been carried out: it was sent, and nobody knows what became of it."""
    step = schema.PostingStep
    query = select(step.step, step.body).where(step.posting_id == posting_id).order_by(step.id)
    is_sent = False
    for row in connection.execute(query):
        if row.step == "begun" and is_sent:
            return True
        answered = row.step in ("stale", "refused") or (
            row.step == "failed" and msgspec.json.decode(row.body).get("answered", False)
        )
        is_sent = row.step == "prepared" or (is_sent and not answered)
    return False


def end_unknown(connection: Connection, to: ErpConnection, *, at: datetime) -> None:
    """Ends postings of which nobody knows, nor will know, whether they were carried out, and that are taken back.

    What takes them back is sent: it says which one that is.
    """
    posting, back = schema.Posting, aliased(schema.Posting)
    dead = and_(posting.connection_id == to.id, posting.state.in_(("stale", "refused")), posting.failed > 0)
    query = select(posting.id).join(back, back.reverses_id == posting.id).where(dead, back.state.in_(OPEN))
    ids = connection.execute(query).scalars().all()
    reason = f"{UNDONE}; nobody knows whether it was carried out"
    _end(connection, ids, "cancelled", reason, at)


def taken_back(connection: Connection, posting_ids: Sequence[int]) -> set[int]:
    """Those of some postings that another one takes back."""
    posting = schema.Posting
    query = select(posting.reverses_id).where(posting.reverses_id.in_(posting_ids))
    return {each for each in connection.execute(query).scalars() if each is not None}


def note_steps(connection: Connection, steps: Iterable[tuple[int, str, Mapping[str, Any]]], *, at: datetime) -> None:
    """Adds what happened to postings: (their id, the step, what was sent or answered)."""
    rows = [
        {"posting_id": posting_id, "at": at, "step": step, "body": msgspec.json.encode(body, order="sorted").decode()}
        for posting_id, step, body in steps
    ]
    if rows:
        connection.execute(insert(schema.PostingStep), rows)


def key_of(site: str, connection_name: str, decision_key: str, kind: Kind) -> str:
    """A posting's key: the same wherever and whenever it is made from the same decision, also after a restore."""
    told = "\0".join((site, connection_name, decision_key, kind))
    return (_PREFIX + hashlib.sha256(told.encode()).hexdigest())[:KEY]


def _meant(body: str, taken_back: tuple[Line, ...] | None) -> Posting:
    """A posting as it is meant now; one that takes another back is about what that one has changed."""
    posting = msgspec.json.decode(body, type=Posting)
    if taken_back is None:
        return posting
    return msgspec.structs.replace(
        posting, lines=tuple(Line(line.product, line.after, line.before) for line in taken_back)
    )


def _posted_lines(connection: Connection, posting_id: int) -> tuple[Line, ...] | None:
    """What a posting has changed, if it was posted."""
    step = schema.PostingStep
    query = select(step.body).where(step.posting_id == posting_id, step.step == "posted").order_by(step.id)
    body = connection.execute(query).scalars().first()
    return None if body is None else _lines_in(body)


def _sent(connection: Connection, each: Due, reference: str | None) -> tuple[Line, ...]:
    """What the draft `reference` was about; where nobody knows any more, what was first meant."""
    step = schema.PostingStep
    query = select(step.body).where(step.posting_id == each.id, step.step == "prepared").order_by(step.id.desc())
    for body in connection.execute(query).scalars():
        if msgspec.json.decode(body)["reference"] == reference:
            return _lines_in(body)
    return each.posting.lines


def _lines_in(body: str) -> tuple[Line, ...]:
    return msgspec.convert(msgspec.json.decode(body)["lines"], tuple[Line, ...])


def _end(connection: Connection, posting_ids: Sequence[int], state: str, reason: str, at: datetime) -> None:
    posting = schema.Posting
    values = {"state": state, "reason": reason, "settled_at": at}
    connection.execute(update(posting).where(posting.id.in_(posting_ids)).values(**values))
    note_steps(connection, ((each, state, {"reason": reason}) for each in posting_ids), at=at)
