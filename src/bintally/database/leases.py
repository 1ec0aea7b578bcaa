"""Who does something that excludes others just now: a promotion with its gates, a relay that posts to a stock system.

A lease ends by itself when its holder has not renewed it for a while, so that a killed one stops nobody for long.
What a lease keeps apart is only effort: whoever must not be late asks `must_hold` in the transaction that counts.
"""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Connection, String, and_, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, mapped_column

from bintally.database.opened import Opened
from bintally.database.types import Table, now
from bintally.errors import ConflictError, StorageError

SECONDS: Final = 60.0
"""How long a lease lasts that nobody renews."""

LONGEST: Final = 600.0
"""No lease lasts longer, s: one that seems to was taken before the clock was set back, and counts no more."""

_RENEWED: Final = 3  # times in that
_TOKEN: Final = 16  # bytes
_NAME: Final = 200  # characters


class LeaseRow(Table):
    """Who does something that excludes others just now, and until when at most."""

    __tablename__ = "registry_lease"  # the registry's promotions were the first that needed one
    name: Mapped[str] = mapped_column(String(_NAME), primary_key=True)
    holder: Mapped[str] = mapped_column(String(_NAME))
    until: Mapped[datetime]


class Lease:
    """A lease that is held, and renewed meanwhile. `busy`: what is said where somebody else has it."""

    def __init__(self, opened: Opened, name: str, *, by: str, seconds: float, busy: str = "") -> None:
        self._busy = busy
        self.name, self._opened, self._seconds = name, opened, min(seconds, LONGEST)
        self.holder = f"{by[: _NAME - 2 * _TOKEN - 1]} {secrets.token_hex(_TOKEN)}"
        self._is_over = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name=f"lease of {name}", daemon=True)

    def must_hold(self, connection: Connection) -> None:
        """Looks, in the caller's transaction, whether nobody has taken it over.

        Raises:
            ConflictError: somebody has, or it has ended.
        """
        query = select(LeaseRow.until).where(LeaseRow.name == self.name, LeaseRow.holder == self.holder)
        until = connection.execute(query.with_for_update()).scalar_one_or_none()
        if until is None or until <= _clock(connection):
            raise ConflictError(
                f"This took so long without a word that others may do it now ({self.name}).", hint="Run it again."
            )

    def start(self) -> None:
        """Takes it, and renews it from now on.

        Raises:
            ConflictError: somebody else has it.
        """
        with self._opened.write() as connection:
            if not _taken(connection, self.name, self.holder, self._seconds):
                raise _busy(self.name, _holder(connection, self.name), self._busy)
        self._renewing.start()

    def end(self) -> None:
        """Gives it back."""
        self._is_over.set()
        self._renewing.join()
        with suppress(StorageError), self._opened.write() as connection:  # else it ends by itself
            connection.execute(delete(LeaseRow).where(LeaseRow.name == self.name, LeaseRow.holder == self.holder))

    def _renew(self) -> None:
        while not self._is_over.wait(self._seconds / _RENEWED):
            # A database that is away for a moment: there are tries left. `must_hold` sees a lease that was lost.
            with suppress(StorageError), self._opened.write() as connection:
                if not _renewed(connection, self.name, self.holder, self._seconds):
                    return


@contextmanager
def held(opened: Opened, name: str, *, by: str, seconds: float = SECONDS, busy: str = "") -> Iterator[Lease]:
    """The lease called `name`, held until the block ends; `busy`: what is said where somebody else has it.

    Raises:
        ConflictError: somebody else has it.
    """
    lease = Lease(opened, name, by=by, seconds=seconds, busy=busy)
    lease.start()
    try:
        yield lease
    finally:
        lease.end()


def must_be_free(connection: Connection, name: str) -> None:
    """Looks, in the caller's transaction, whether nobody holds the lease called `name`.

    Raises:
        ConflictError: somebody does.
    """
    holder = _holder(connection, name)
    if holder is not None:
        raise _busy(name, holder)


def is_held(connection: Connection, name: str) -> bool:
    """Whether somebody holds the lease called `name`."""
    return _holder(connection, name) is not None


def _taken(connection: Connection, name: str, holder: str, seconds: float) -> bool:
    """Takes a lease, unless somebody else has it: one statement, so that no two can."""
    clock = _clock(connection)
    made = postgresql.insert(LeaseRow) if connection.dialect.name == "postgresql" else sqlite.insert(LeaseRow)
    values = {"holder": holder, "until": clock + timedelta(seconds=seconds)}
    taking = made.values(name=name, **values).on_conflict_do_update(
        index_elements=("name",), set_=values, where=(LeaseRow.holder == holder) | ~_counts(clock)
    )
    return connection.execute(taking.returning(LeaseRow.__table__.c.holder)).scalar_one_or_none() == holder


def _renewed(connection: Connection, name: str, holder: str, seconds: float) -> bool:
    """Renews a lease that nobody else has had since; not one that somebody took over and gave back."""
    mine = update(LeaseRow).where(LeaseRow.name == name, LeaseRow.holder == holder)
    return connection.execute(mine.values(until=_clock(connection) + timedelta(seconds=seconds))).rowcount == 1


def _holder(connection: Connection, name: str) -> str | None:
    query = select(LeaseRow.holder).where(LeaseRow.name == name, _counts(_clock(connection)))
    holder: str | None = connection.execute(query).scalar_one_or_none()
    return holder


def _counts(clock: datetime) -> ColumnElement[bool]:
    return and_(LeaseRow.until > clock, LeaseRow.until <= clock + timedelta(seconds=LONGEST))


def _clock(connection: Connection) -> datetime:
    """The time of the database's machine, which is one for all who hold leases there."""
    if connection.dialect.name != "postgresql":
        return now()
    told: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return told.astimezone(UTC)


def _busy(name: str, holder: str | None, words: str = "") -> ConflictError:
    who = holder.rpartition(" ")[0] if holder else "Somebody"
    return ConflictError(
        words or f"{who} is at it just now ({name}).",
        hint="Wait until that has ended; a killed one's turn ends after a minute.",
    )
