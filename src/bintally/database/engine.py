"""SQLite embedded or PostgreSQL for real, behind one small door: read in a snapshot, write in a transaction.

A write is all or nothing and survives `kill -9` and a power cut (SQLite: WAL with synchronous=FULL; PostgreSQL: its
defaults). On SQLite one writer works at a time and others wait; readers never wait.
"""

import math
import re
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from bintally.database.migrate import upgrade, version_of
from bintally.errors import MissingExtraError, StorageError, UsageError

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"

_WAIT_S: Final = 60.0
_WRITES: Final = "bintally_writes"  # marks a connection's next transaction as one that writes


class Purpose(NamedTuple):
    """What a database is to whoever opens it: a word for messages, and the command that makes one."""

    word: str
    init: str

    @property
    def hint(self) -> str:
        """What to do where there is none."""
        return f"`{self.init}` makes one, and brings an older one up to date."


LEDGER: Final = Purpose("ledger", "bintally ledger init PLACE")


class Database:
    """One database, its tables at the version this bintally knows."""

    def __init__(self, engine: Engine, purpose: Purpose = LEDGER) -> None:
        self.engine, self.purpose = engine, purpose

    @classmethod
    def open(
        cls, place: str | Path, *, create: bool = False, wait_s: float | None = None, purpose: Purpose = LEDGER
    ) -> Self:
        """A database by its file (SQLite) or URL (`sqlite:///FILE`, `postgresql://USER@HOST/NAME`).

        `create` makes an empty one ready, and brings an older one to this version; without it both are errors.
        `wait_s`: how long to wait for a server, and for others who write; None: a minute for those who write to a file,
        else as long as it takes. `purpose`: what it is, in messages.

        Raises:
            UsageError: no such database, no such kind of it, or one of another version.
            StorageError: it can't be reached or written.
            MissingExtraError: PostgreSQL's driver is not installed.
        """
        url = _url(place, purpose)
        if url.get_backend_name() == SQLITE and not create and not Path(url.database or "").is_file():
            raise UsageError(f"There is no {purpose.word} {url.database}.", hint=purpose.hint)
        database = cls(_engine(url, wait_s), purpose)
        try:
            database._prepare(create=create)
        except BaseException:
            database.close()
            raise
        return database

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of this machine."""
        return self.engine.dialect.name == SQLITE

    @property
    def name(self) -> str:
        """Where it is, without passwords and without the driver, which nobody has named."""
        url = self.engine.url.difference_update_query(_PASSWORDS)
        return url.set(drivername=self.engine.dialect.name).render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection on which all reads see one moment's state."""
        with self._errors(), self.engine.connect() as connection:
            if not self.is_sqlite:
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection whose changes all stand when the block ends, or none of them do."""
        with self._errors(), self.engine.connect() as connection:
            connection = connection.execution_options(**{_WRITES: True})
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Closes all connections."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _errors(self) -> AbstractContextManager[None]:
        return _storage_errors(self.name, self.purpose)

    def _prepare(self, *, create: bool) -> None:
        with self._errors():
            held, newest = version_of(self.engine)
            if held == newest:
                return
            if held is not None and newest is None:
                raise UsageError(
                    f"{self.name} was written by a newer bintally (version {held}).", hint="Install that one."
                )
            if not create:
                raise UsageError(
                    f"{self.name} is no {self.purpose.word} yet."
                    if held is None
                    else f"{self.name} is of version {held}.",
                    hint=self.purpose.hint,
                )
            upgrade(self.engine)


def _url(place: str | Path, purpose: Purpose) -> URL:
    text = str(place)
    if "://" not in text:
        return URL.create("sqlite", database=text)
    try:
        url = make_url(text.replace("postgres://", "postgresql://", 1))  # libpq takes both
    except (ArgumentError, ValueError):  # a port that is no number
        raise UsageError(f"{_SECRET.sub('***', text)!r} is no database.", hint=_KINDS) from None
    backend = url.get_backend_name()
    if backend not in {SQLITE, POSTGRESQL}:
        raise UsageError(f"bintally keeps no {purpose.word} in {backend}.", hint=_KINDS)
    return url.set(drivername="postgresql+psycopg") if backend == POSTGRESQL else url.set(drivername="sqlite")


def _engine(url: URL, wait_s: float | None) -> Engine:
    if url.get_backend_name() == POSTGRESQL:
        try:
            return create_engine(url, pool_pre_ping=True, connect_args={} if wait_s is None else _impatient(wait_s))
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "PostgreSQL's driver is not installed.", hint="Install it with `pip install 'bintally[postgres]'`."
            ) from error
    folder = Path(url.database or ".").parent
    with _storage_errors(str(url.database)):
        folder.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": _WAIT_S if wait_s is None else wait_s})
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _impatient(wait_s: float) -> dict[str, Any]:
    """Settings of libpq for a server that is gone, and for locks that others hold."""
    milliseconds = max(1, round(1000 * wait_s))
    return {
        "connect_timeout": max(2, math.ceil(wait_s)),  # libpq takes no less
        "tcp_user_timeout": milliseconds,
        "options": f"-c lock_timeout={milliseconds}",
    }


def _set_up(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: `_begin` does
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-65536"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # A transaction that reads first and writes later can find that another wrote between, and fails at once: so a
    # writer says at its beginning that it is one, and waits.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(_WRITES) else "BEGIN")


@contextmanager
def _storage_errors(name: str, purpose: Purpose = LEDGER) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{name} can't be written: {error.strerror}.", hint="Choose another place.") from error
    except OperationalError as error:
        raise StorageError(f"{name} can't be used: {_first_line(error)}.", hint=_reason(error)) from error
    except DatabaseError as error:
        if isinstance(error.orig, sqlite3.DatabaseError) and "not a database" in str(error.orig):
            raise UsageError(f"{name} is a file of another kind.", hint=purpose.hint) from error
        raise


def _first_line(error: Any) -> str:
    return str(error.orig).strip().splitlines()[0]


def _reason(error: OperationalError) -> str:
    text = str(error.orig)
    if "locked" in text:
        return "Another bintally has been writing for long: wait for it."
    if "deadlock" in text:
        return "Two writers waited for each other: run it again, nothing was half-written."
    if "full" in text or "No space" in text:
        return "Free some space; nothing was half-written."
    if isinstance(error.orig, sqlite3.Error):
        return "Its file and folder must be writable, also to read: SQLite keeps a log beside it."
    return "Is the database running, and is the address right?"


_PASSWORDS: Final = ("password", "sslpassword")  # libpq takes them in an address's query, too
_SECRET: Final = re.compile(r"(?<=://).*(?=@)|(?<=[?]).*")
_KINDS: Final = "Name a file (SQLite), or postgresql://USER@HOST/NAME."
