"""Lines of the audit log that tell of a correction, each with what its hash is made from.

A line's hash covers the line and the hash before it, so anybody can look whether a line is as it was written. That the
lines are the log's, and that the log is whole, only the ledger can tell, or whoever noted down a head of it.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, select

from bintally.database import audit
from bintally.inventory.evidence.facts import AuditLine, Movement, Photo, Posting, Record, Review
from bintally.inventory.evidence.reading import fact
from bintally.inventory.evidence.secrets import without_secrets
from bintally.inventory.ledger import Site

EXPORT: Final = "evidence.export"
"""What the log calls an export of evidence."""

_AT_ONCE: Final = 500


class About(msgspec.Struct, frozen=True):
    """What lines are looked for by: what they name in their bodies."""

    photos: frozenset[str]  # SHA-256
    records: frozenset[str]  # keys
    movements: frozenset[str]
    reviews: frozenset[int]
    postings: frozenset[str]

    @classmethod
    def of(
        cls,
        photos: Sequence[Photo],
        records: Sequence[Record],
        movements: Sequence[Movement],
        reviews: Sequence[Review],
        postings: Sequence[Posting],
    ) -> "About":
        """Those facts."""
        return cls(
            frozenset(each.sha256 for each in photos),
            frozenset(each.key for each in records),
            frozenset(each.key for each in movements),
            frozenset(each.id for each in reviews),
            frozenset(each.key for each in postings),
        )

    def names(self, action: str, body: dict[str, Any]) -> bool:
        """Whether a line about the bin is about one of these facts."""
        if action == "photo.take":
            return body.get("sha256") in self.photos
        if action in ("record.take", "movement.take"):
            return body.get("key") in (self.records if action == "record.take" else self.movements)
        if action.startswith("erp."):
            return body.get("key") in self.postings
        return body.get("review_id", body.get("review")) in self.reviews


class Removals:
    """Where the log says that retention has removed photos; read when it is first asked."""

    def __init__(self, connection: Connection, site: Site) -> None:
        self._connection, self._site = connection, site

    def of(self, photos: Sequence[Photo]) -> set[int]:
        """The numbers of the lines that tell of the removed ones of `photos`."""
        removed = [each.id for each in photos if each.state == "removed"]
        return {self._lines[each] for each in removed if each in self._lines} if removed else set()

    @cached_property
    def _lines(self) -> dict[int, int]:
        line = audit.AuditLine
        query = select(line.number, line.body).where(
            line.subject == f"site:{self._site.code}", line.action == "photo.remove"
        )
        rows = self._connection.execute(query.order_by(line.number))
        return {photo: row.number for row in rows for photo in msgspec.json.decode(row.body)["photos"]}


def head(connection: Connection) -> audit.Head:
    """The end of the log, left aside what it says of exports: so that two of the same state are the same."""
    line = audit.AuditLine
    query = select(line.number, line.hash).where(line.action != EXPORT).order_by(line.number.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return audit.Head(0, audit.START) if row is None else audit.Head(row.number, row.hash)


def lines_about(connection: Connection, subject: str, about: About, more: set[int]) -> tuple[AuditLine, ...]:
    """The lines of a bin, `subject`, that name one of `about`, and those of the numbers `more`; in order."""
    line = audit.AuditLine
    query = select(line.number, line.action, line.body).where(line.subject == subject).order_by(line.number)
    numbers = {
        row.number
        for row in connection.execute(query.execution_options(yield_per=_AT_ONCE))
        if about.names(row.action, msgspec.json.decode(row.body))
    }
    return tuple(_lines(connection, sorted(numbers | more)))


def _lines(connection: Connection, numbers: Sequence[int]) -> Iterator[AuditLine]:
    line = audit.AuditLine
    for start in range(0, len(numbers), _AT_ONCE):
        some = numbers[start : start + _AT_ONCE]
        rows = connection.execute(select(line.__table__).where(line.number.in_(some)).order_by(line.number)).all()
        before = connection.execute(
            select(line.number, line.hash).where(line.number.in_([number - 1 for number in some]))
        )
        hashes = {0: audit.START} | {row.number: row.hash for row in before}
        for row in rows:
            yield fact(AuditLine, row, before=hashes[row.number - 1], body=_open(row.body))


def _open(body: str) -> str | None:
    """A body as it was hashed; None: it has a secret in it."""
    plain = msgspec.json.decode(body)
    return body if without_secrets(plain) == plain else None
