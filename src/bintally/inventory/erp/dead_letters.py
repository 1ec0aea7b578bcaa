"""Postings that a person has to act on: stale and refused ones, with what can be done about them.

Try again, give up, or count the bin anew: all are written down, with who said so.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select, update
from sqlalchemy.orm import aliased

from bintally.database import audit
from bintally.errors import ConflictError, UsageError
from bintally.inventory import schema
from bintally.inventory.erp import outbox
from bintally.inventory.erp.connections import ErpConnection, connections
from bintally.inventory.erp.protocol import Line, Posting, Stock
from bintally.inventory.erp.pull import newest, take_stock
from bintally.inventory.people import Person
from bintally.inventory.review import effects
from bintally.inventory.review.case import RECOUNT, case_of, lock_bins


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A posting that waits for a person. `behind`: later ones of the bin that wait for it.

    `is_known` False: it was given up without an answer, and nobody knows whether it was carried out.
    """

    id: int
    connection: str
    bin: str
    kind: str
    state: str
    reason: str
    since: datetime
    lines: tuple[Line, ...]
    is_known: bool
    behind: int


class Recount(msgspec.Struct, frozen=True):
    """A bin that is counted anew: the review, the postings that were given up for it, and the record's new version."""

    review_id: int
    dropped: tuple[int, ...]
    record_id: int | None


def dead_letters(connection: Connection, to: ErpConnection | None = None) -> list[DeadLetter]:
    """All that waits for a person (of one stock system), the oldest first."""
    posting, later = schema.Posting, aliased(schema.Posting)
    behind = select(func.count()).where(
        later.connection_id == posting.connection_id,
        later.bin_id == posting.bin_id,
        later.id > posting.id,
        later.state == "waiting",
    )
    query = _postings().add_columns(behind.scalar_subquery().label("behind"))
    asked = [each.id for each in connections(connection)] if to is None else [to.id]  # what the index begins with
    query = query.where(posting.connection_id.in_(asked), posting.state.in_(("stale", "refused"))).order_by(posting.id)
    rows = connection.execute(query).all()
    since = _since(connection, [row.id for row in rows])
    return [
        DeadLetter(
            id=row.id,
            connection=row.connection,
            bin=row.bin,
            kind=row.kind,
            state=row.state,
            reason=row.reason,
            since=since[row.id],
            lines=msgspec.json.decode(row.body, type=Posting).lines,
            is_known=outbox.is_unsent(row.state, row.tried, row.failed),
            behind=row.behind,
        )
        for row in rows
    ]


def retry(connection: Connection, posting_id: int, *, by: Person, at: datetime, note: str = "") -> None:
    """Has a posting tried again. It is looked for first, so that it is not posted twice.

    Raises:
        UsageError: there is no such posting.
        AccessError: not an approver of the site.
        ConflictError: it does not wait for a person.
    """
    row = _dead(connection, posting_id, by)
    values = {"state": "waiting", "next_at": at, "failed": 1}  # alone, so that it makes no other fail
    connection.execute(update(schema.Posting).where(schema.Posting.id == posting_id).values(**values))
    outbox.note_steps(connection, [(posting_id, "retried", {"by": by.name, "note": note})], at=at)
    _audit(connection, row, by, "erp.retry", {"note": note}, at)


def drop(
    connection: Connection, posting_id: int, *, by: Person, reason: str, at: datetime, anyway: bool = False
) -> None:
    """Gives a posting up: the stock system is not told. What it says is taken in again by the next `pull`.

    `anyway`: also one of which nobody knows whether it was carried out.

    Raises:
        UsageError: there is no such posting, or no reason was given.
        AccessError: not an approver of the site.
        ConflictError: it does not wait for a person, or nobody knows what became of it.
    """
    if not reason.strip():
        raise UsageError("Nothing is dropped without a reason.", hint="Say --reason.")
    row = _dead(connection, posting_id, by)
    _known(row, anyway=anyway)
    outbox.end(connection, [posting_id], "dropped", reason, at)
    _audit(connection, row, by, "erp.drop", {"reason": reason, "anyway": anyway}, at)


def recount(
    connection: Connection,
    posting_id: int,
    *,
    by: Person,
    at: datetime,
    to: ErpConnection,
    stock: Stock | None = None,
    anyway: bool = False,
) -> Recount:
    """Has the bin counted anew, without sight of any record, against what the stock system says is there: `stock`.

    All that the outbox has for the bin is given up for it. `stock` None: it does not tell.

    Raises:
        UsageError, AccessError, ConflictError: as `drop`.
        DataError: the stock system has a product there that the ledger does not know.
    """
    row = _dead(connection, posting_id, by)
    _known(row, anyway=anyway)
    lock_bins(connection, [row.bin_id])
    posting = schema.Posting
    waiting = select(posting.id).where(
        posting.connection_id == to.id, posting.bin_id == row.bin_id, posting.state.in_(outbox.OPEN)
    )
    dropped = tuple(connection.execute(waiting.order_by(posting.id)).scalars())
    outbox.end(connection, dropped, "dropped", "the bin is counted anew", at)
    record_id = None
    if stock is not None:
        held = newest(connection, to.site_id, [row.bin]).get(row.bin)
        if held is None or not held.says(stock):
            record_id = take_stock(connection, to, stock, held, at=at, by=by.name)
    told = Recount(_review(connection, row, at), dropped, record_id)
    _audit(connection, row, by, "erp.recount", msgspec.to_builtins(told), at)
    return told


def connection_told(connection: Connection, posting_id: int) -> ErpConnection:
    """The stock system that a posting is for.

    Raises:
        UsageError: there is no such posting.
    """
    row = _posting(connection, posting_id)
    return next(each for each in connections(connection) if each.id == row.connection_id)


def bin_told(connection: Connection, posting_id: int) -> str:
    """The bin that a posting is about, by its code.

    Raises:
        UsageError: there is no such posting.
    """
    return str(_posting(connection, posting_id).bin)


def _review(connection: Connection, row: Any, at: datetime) -> int:
    """The review in which the bin is counted: the one that is open, or a new blind one."""
    review, decision = schema.Review, schema.Decision
    is_open = select(review.id).where(review.bin_id == row.bin_id, review.state.in_(("open", "waiting")))
    held = connection.execute(is_open).scalar_one_or_none()
    if held is not None:
        return int(held)
    asked = connection.execute(select(decision.review_id).where(decision.id == row.decision_id)).scalar_one()
    return effects.open_round(connection, case_of(connection, asked), reason=RECOUNT, blind=True, at=at)


def _postings() -> Any:
    posting, erp, bins, site = schema.Posting, schema.ErpConnection, schema.Bin, schema.Site
    return (
        select(
            posting.__table__, erp.name.label("connection"), erp.site_id, bins.code.label("bin"),
            site.code.label("site"),
        )
        .join(erp, erp.id == posting.connection_id)
        .join(bins, bins.id == posting.bin_id)
        .join(site, site.id == bins.site_id)
    )  # fmt: skip


def _posting(connection: Connection, posting_id: int) -> Any:
    row = connection.execute(_postings().where(schema.Posting.id == posting_id)).one_or_none()
    if row is None:
        raise UsageError(
            f"There is no posting {posting_id}.", hint="`bintally erp dead-letters` lists those that wait."
        )
    return row


def _dead(connection: Connection, posting_id: int, by: Person) -> Any:
    """A posting that waits for a person, of which nobody else changes anything until the transaction ends."""
    posting = schema.Posting
    connection.execute(select(posting.id).where(posting.id == posting_id).with_for_update())
    row = _posting(connection, posting_id)
    by.need("approver", site_id=row.site_id)
    if row.state not in ("stale", "refused"):
        raise ConflictError(
            f"Posting {posting_id} is {row.state}: nobody has to act on it.",
            hint="`bintally erp dead-letters` lists those that wait for a person.",
        )
    return row


def _known(row: Any, *, anyway: bool) -> None:
    if not anyway and not outbox.is_unsent(row.state, row.tried, row.failed):
        raise ConflictError(
            f"Nobody knows whether {row.connection} has carried posting {row.id} out.",
            hint=f"`bintally erp retry {row.id}` finds out; --anyway gives it up all the same.",
        )


def _since(connection: Connection, posting_ids: Sequence[int]) -> dict[int, datetime]:
    step = schema.PostingStep
    query = (
        select(step.posting_id, func.max(step.at).label("at"))
        .where(step.posting_id.in_(posting_ids))
        .group_by(step.posting_id)
    )
    return {row.posting_id: row.at for row in connection.execute(query)}


def _audit(connection: Connection, row: Any, by: Person, action: str, body: dict[str, Any], at: datetime) -> None:
    told = body | {"posting": row.id, "key": row.key, "was": row.state}
    subject = f"bin:{row.site}/{row.bin}"
    audit.append(connection, actor=by.name, action=action, subject=subject, body=told, at=at)
