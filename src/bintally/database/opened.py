"""`Opened`: what stands on a database and is opened, read, written and closed as one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from sqlalchemy import Connection

from bintally.database.engine import Database


class Opened:
    """A database with tables of ours, opened. Verbs take it, and a connection inside of it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One moment's state."""
        with self.database.read() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """All or nothing."""
        with self.database.write() as connection:
            yield connection

    def close(self) -> None:
        """Closes all connections."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
