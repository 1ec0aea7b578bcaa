"""Adding a row that may be there already, right on both databases with several writers at once."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from bintally.database.types import Table


def add_if_new(
    connection: Connection, table: type[Table], values: Mapping[str, Any], *, unique: tuple[str, ...]
) -> int | None:
    """Adds a row and returns its id; None: one with the same `unique` columns is there, and stays as it is.

    On PostgreSQL it waits for others who are just adding that row, so that what is read next sees theirs.
    """
    made = postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    adding = made.values(**values).on_conflict_do_nothing(index_elements=unique)
    added: int | None = connection.execute(adding.returning(table.__table__.c.id)).scalar_one_or_none()
    return added
