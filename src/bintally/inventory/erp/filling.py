"""Fills the outbox: postings of the corrections that a stock system has not been told.

What is new is read off the audit log: it has a line for each correction, approval and undo, numbered in the order in
which they came to stand. So nobody's clock is asked, and nothing is looked at twice, however much there is.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select, true, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import aliased

from bintally.database import audit
from bintally.inventory import schema
from bintally.inventory.erp import outbox
from bintally.inventory.erp.connections import ErpConnection
from bintally.inventory.erp.protocol import Kind, Line, Posting

AT_ONCE: Final = 500
"""Lines of the audit log that are worked through in one go."""

_TELLING: Final = ("review.correct", "review.approve", "review.undo")


def fill(connection: Connection, to: ErpConnection, *, at: datetime) -> int:
    """Makes postings of the corrections that `to` has not been told, as they came; how many.

    A correction that was undone and is known not to have been posted is cancelled; else it is taken back by a posting
    of its own. Until nothing is left, a transaction works through `AT_ONCE` lines: call it again while `is_behind`.
    """
    heard, end = _heard(connection, to), audit.head(connection).number
    lines = _lines_after(connection, heard, AT_ONCE)
    decisions = sorted({number for line in lines for number in _decisions_of(line)})
    made = 0
    if decisions:
        made = _tell_undone(connection, to, decisions, at) + _tell_corrections(connection, to, decisions, at)
    heard_now = lines[-1].number if len(lines) == AT_ONCE else max(end, heard)
    table = schema.ErpConnection
    mine = and_(table.id == to.id, table.heard < heard_now)
    connection.execute(update(table).where(mine).values(heard=heard_now))
    return made


def is_behind(connection: Connection, to: ErpConnection) -> bool:
    """Whether there is something that the outbox has not heard of."""
    return bool(_lines_after(connection, _heard(connection, to), 1))


def unheard(connection: Connection, to: ErpConnection) -> int:
    """How many corrections stand that the outbox has not heard of."""
    adjustment, place = schema.Adjustment, schema.Bin
    query = (
        select(func.count(adjustment.decision_id.distinct()))
        .join(place, place.id == adjustment.bin_id)
        .where(adjustment.state == "approved", place.site_id == to.site_id, _counts(to))
    )
    parts = _unheard_decisions(connection, to, 0)
    return sum(connection.execute(query.where(adjustment.decision_id.in_(some))).scalar_one() for some in parts)


def oldest_unheard(connection: Connection, to: ErpConnection) -> datetime | None:
    """Since when the oldest of them stands; None: there is none."""
    adjustment, place = schema.Adjustment, schema.Bin
    query = (
        select(func.min(adjustment.settled_at))
        .join(place, place.id == adjustment.bin_id)
        .where(adjustment.state == "approved", place.site_id == to.site_id, _counts(to))
    )
    parts = _unheard_decisions(connection, to, 0)
    found = (connection.execute(query.where(adjustment.decision_id.in_(some))).scalar_one() for some in parts)
    return min((each for each in found if each is not None), default=None)


def unheard_bins(connection: Connection, to: ErpConnection, *, after: int = 0) -> set[int]:
    """Bins with something to be told that the outbox has not heard of, in the audit log after line `after`."""
    adjustment, place, posting = schema.Adjustment, schema.Bin, schema.Posting
    was_told = exists().where(posting.connection_id == to.id, posting.decision_id == adjustment.decision_id)
    query = (
        select(adjustment.bin_id)
        .join(place, place.id == adjustment.bin_id)
        .where(place.site_id == to.site_id)
        .where(or_(and_(adjustment.state == "approved", _counts(to)), and_(adjustment.state == "undone", was_told)))
    )
    parts = _unheard_decisions(connection, to, after)
    found = (connection.execute(query.where(adjustment.decision_id.in_(some))).scalars() for some in parts)
    return {bin_id for some in found for bin_id in some}


def _counts(to: ErpConnection) -> ColumnElement[bool]:
    """Whether a correction stands since the moment that was asked for; else the log's order says which are told."""
    return true() if to.since is None else schema.Adjustment.settled_at >= to.since


def _unheard_decisions(connection: Connection, to: ErpConnection, after: int) -> list[list[int]]:
    """In parts, as long as a query takes."""
    lines = _lines_after(connection, max(_heard(connection, to), after), None)
    numbers = sorted({number for line in lines for number in _decisions_of(line)})
    return [numbers[start : start + AT_ONCE] for start in range(0, len(numbers), AT_ONCE)]


def _heard(connection: Connection, to: ErpConnection) -> int:
    table = schema.ErpConnection
    return int(connection.execute(select(table.heard).where(table.id == to.id)).scalar_one())


def _lines_after(connection: Connection, number: int, limit: int | None) -> Sequence[Any]:
    line = audit.AuditLine
    query = select(line.number, line.action, line.body).where(line.number > number, line.action.in_(_TELLING))
    return connection.execute(query.order_by(line.number).limit(limit)).all()


def _decisions_of(line: Any) -> Iterable[int]:
    """The decision that a line is about; an approval's and an undo's are of another one."""
    name = {"review.approve": "of", "review.undo": "undoes"}.get(line.action, "decision_id")
    told = msgspec.json.decode(line.body).get(name)
    return (told,) if isinstance(told, int) else ()


def _tell_corrections(connection: Connection, to: ErpConnection, decisions: Sequence[int], at: datetime) -> int:
    """Corrections that stand. They come by their numbers: a bin's next one is made when the one before stands."""
    adjustment, posting = schema.Adjustment, schema.Posting
    told = exists().where(
        posting.connection_id == to.id, posting.decision_id == schema.Decision.id, posting.kind == "adjust"
    )
    query = (
        _decisions(decisions)
        .where(adjustment.state == "approved", schema.Bin.site_id == to.site_id, _counts(to))
        .where(~told)
    )
    return _add(connection, to, connection.execute(query).all(), "adjust", at)


def _tell_undone(connection: Connection, to: ErpConnection, decisions: Sequence[int], at: datetime) -> int:
    """Corrections that were undone after a posting was made of them."""
    mine, back = schema.Posting, aliased(schema.Posting)
    query = (
        _decisions(decisions)
        .join(mine, and_(mine.decision_id == schema.Decision.id, mine.connection_id == to.id, mine.kind == "adjust"))
        .add_columns(mine.id.label("posting_id"), mine.key.label("posting_key"), mine.state.label("posting_state"))
        .add_columns(mine.tried, mine.failed)
        .group_by(mine.id, mine.key, mine.state, mine.tried, mine.failed)
        .where(schema.Adjustment.state == "undone", mine.state.not_in(("cancelled", "dropped")))
        .where(~exists().where(back.reverses_id == mine.id))
    )
    rows = connection.execute(query).all()
    unsent = [row for row in rows if outbox.is_unsent(row.posting_state, row.tried, row.failed)]
    outbox.end(connection, [row.posting_id for row in unsent], "cancelled", outbox.UNDONE, at)
    return _add(connection, to, [row for row in rows if row not in unsent], "reverse", at)


def _decisions(numbers: Sequence[int]) -> Any:
    adjustment, decision, bins, person = schema.Adjustment, schema.Decision, schema.Bin, schema.Person
    second = aliased(person)
    return (
        select(
            decision.id.label("decision_id"), decision.key, decision.note, decision.counted_at,
            bins.id.label("bin_id"), bins.code.label("bin"), schema.Site.code.label("site"),
            person.name.label("by"), second.name.label("approved_by"),
        )
        .select_from(adjustment)
        .join(decision, decision.id == adjustment.decision_id)
        .join(bins, bins.id == adjustment.bin_id)
        .join(schema.Site, schema.Site.id == bins.site_id)
        .join(person, person.id == decision.person_id)
        .outerjoin(second, second.id == adjustment.approved_by_id)
        .where(decision.id.in_(numbers))
        .group_by(decision.id, bins.id, schema.Site.code, person.name, second.name)
        .order_by(decision.id)
    )  # fmt: skip


def _add(connection: Connection, to: ErpConnection, rows: Sequence[Any], kind: Kind, at: datetime) -> int:
    if not rows:
        return 0
    lines = _lines(connection, [row.decision_id for row in rows], kind)
    values = [_values(to, row, lines[row.decision_id], kind, at) for row in rows]
    table = schema.Posting
    made = postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    adding = made.on_conflict_do_nothing().returning(table.id, table.decision_id)
    added = connection.execute(adding, values).all()
    outbox.note_steps(connection, ((row.id, "made", {"decision": row.decision_id}) for row in added), at=at)
    return len(added)


def _values(to: ErpConnection, row: Any, lines: tuple[Line, ...], kind: Kind, at: datetime) -> Mapping[str, Any]:
    key, is_reverse = outbox.key_of(row.site, to.name, row.key, kind), kind == "reverse"
    body = Posting(
        key=key,
        kind=kind,
        site=row.site,
        bin=row.bin,
        lines=lines,
        counted_at=row.counted_at,
        by=row.by,
        approved_by=row.approved_by,
        note=row.note,
        reverses=row.posting_key if is_reverse else None,
    )
    return {
        "connection_id": to.id,
        "bin_id": row.bin_id,
        "decision_id": row.decision_id,
        "reverses_id": row.posting_id if is_reverse else None,
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


def _lines(connection: Connection, decisions: Sequence[int], kind: Kind) -> dict[int, tuple[Line, ...]]:
    adjustment, product = schema.Adjustment, schema.Product
    query = (
        select(adjustment.decision_id, product.sku, adjustment.before, adjustment.after)
        .outerjoin(product, product.id == adjustment.product_id)
        .where(adjustment.decision_id.in_(decisions))
        .order_by(adjustment.decision_id, product.sku)
    )
    told: dict[int, list[Line]] = defaultdict(list)
    for row in connection.execute(query):
        before, after = (row.after, row.before) if kind == "reverse" else (row.before, row.after)
        told[row.decision_id].append(Line(row.sku, before, after))
    return {decision: tuple(lines) for decision, lines in told.items()}
