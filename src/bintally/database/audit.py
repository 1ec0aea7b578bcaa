"""The audit log: append-only, each line holding the hash of the one before it.

Whoever changes, removes, inserts or reorders a line must change the hash of every later one; `verify` finds the first
that does not fit. The end of a chain can only be cut off unnoticed if nobody remembers its head: `head` is what to
note down elsewhere, and `verify(expect=...)` looks for it. Triggers refuse changes through the front door.

The hash is SHA-256 of the canonical JSON of a line and the hash before it (Crosby & Wallach 2009 call it a hash chain;
Haber & Stornetta 1991).
"""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, String, Text, insert, select, text
from sqlalchemy.orm import Mapped, mapped_column

from bintally.database.types import Key, Table, now
from bintally.errors import UsageError

START: Final = "0" * 64
"""What stands for the hash before the first line."""

_LOCK: Final = 0x62696E74  # "bint": PostgreSQL's name for "one appends at a time"
_AT_ONCE: Final = 10_000


class AuditLine(Table):
    """One thing that somebody did. Never changed."""

    __tablename__ = "audit"
    number: Mapped[int] = mapped_column(Key, primary_key=True, autoincrement=False)  # 1, 2, 3 .. without a gap
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(100))  # such as "review.correct"
    subject: Mapped[str] = mapped_column(String(300), index=True)  # what it was done to, such as "bin:STR1/A-12"
    body: Mapped[str] = mapped_column(Text)  # canonical JSON
    hash: Mapped[str] = mapped_column(String(64), unique=True)


class Entry(msgspec.Struct, frozen=True):
    """A line of the log, as it is read."""

    number: int
    at: datetime
    actor: str
    action: str
    subject: str
    body: dict[str, Any]
    hash: str


class Head(msgspec.Struct, frozen=True):
    """The last line's number and hash: what to note down where nobody can change both."""

    number: int
    hash: str

    @classmethod
    def of(cls, text: str) -> "Head":
        """A head as it was noted down, NUMBER:HASH.

        Raises:
            UsageError: it is none.
        """
        number, _, digest = text.strip().partition(":")
        if not (number.isdecimal() and len(digest) == len(START)):
            raise UsageError(f"{text!r} is no head of an audit log.", hint="`bintally audit head` prints one.")
        return cls(int(number), digest.lower())

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


class Verified(msgspec.Struct, frozen=True):
    """What a look through the whole chain found. `broken`: the first line that does not fit, and why."""

    lines: int
    head: Head
    broken: int | None = None
    reason: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every line fits the one before it."""
        return self.broken is None


def append(
    connection: Connection,
    *,
    actor: str,
    action: str,
    subject: str,
    body: Mapping[str, Any],
    at: datetime | None = None,
) -> Head:
    """Writes a line at the end, in the caller's transaction: it stands if and only if what it tells of stands.

    Others who append wait until that transaction has ended, so append last.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:name)"), {"name": _LOCK})
    last = head(connection)
    line = {
        "number": last.number + 1,
        "at": (at or now()).astimezone(UTC),
        "actor": actor,
        "action": action,
        "subject": subject,
        "body": _canonical(body),
    }
    line["hash"] = hash_of(line, last.hash)
    connection.execute(insert(AuditLine), [line])
    return Head(line["number"], line["hash"])  # type: ignore[arg-type]


def head(connection: Connection) -> Head:
    """The end of the chain."""
    row = connection.execute(
        select(AuditLine.number, AuditLine.hash).order_by(AuditLine.number.desc()).limit(1)
    ).one_or_none()
    return Head(0, START) if row is None else Head(row.number, row.hash)


def entries(connection: Connection, *, subject: str | None = None, after: int = 0) -> Iterator[Entry]:
    """Lines in order, of one `subject` or all, after line `after`."""
    query = select(AuditLine.__table__).where(AuditLine.number > after).order_by(AuditLine.number)
    if subject is not None:
        query = query.where(AuditLine.subject == subject)
    with connection.execute(query.execution_options(yield_per=_AT_ONCE)) as rows:
        for row in rows:
            yield Entry(row.number, row.at, row.actor, row.action, row.subject, msgspec.json.decode(row.body), row.hash)


def verify(connection: Connection, *, expect: Head | None = None) -> Verified:
    """Looks through the whole chain. `expect`: a head noted down earlier, which must be in it."""
    before, found = Head(0, START), False
    query = select(AuditLine.__table__).order_by(AuditLine.number).execution_options(yield_per=_AT_ONCE)
    with connection.execute(query) as rows:
        for row in rows:
            if row.number != before.number + 1:
                missing = before.number + 1
                return Verified(before.number, before, missing, f"line {missing} is missing")
            if row.hash != hash_of(row._asdict(), before.hash):
                reason = f"line {row.number} was changed, or a line before it"
                return Verified(before.number, before, row.number, reason)
            before = Head(row.number, row.hash)
            found = found or before == expect
    if expect is not None and expect.number and not found:
        return Verified(before.number, before, before.number + 1, f"the line {expect} that was noted down is not there")
    return Verified(before.number, before)


def hash_of(line: Mapping[str, Any], before: str) -> str:
    """The hash of a line (its `body` as canonical JSON) that follows on the line with the hash `before`."""
    told = [
        before,
        line["number"],
        line["at"].isoformat(),
        *(line[name] for name in ("actor", "action", "subject", "body")),
    ]
    return hashlib.sha256(msgspec.json.encode(told)).hexdigest()


def _canonical(body: Mapping[str, Any]) -> str:
    return msgspec.json.encode(body, order="sorted").decode()
