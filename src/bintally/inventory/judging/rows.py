"""Adding many rows of which some may be there already, whoever else is adding them at this moment."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from bintally.database.types import Table


def add_missing(
    connection: Connection, table: type[Table], rows: Sequence[Mapping[str, Any]], *, unique: tuple[str, ...]
) -> None:
    """Adds rows; those whose `unique` columns are there already are left out.

    Give them in order of those columns: writers that add the same rows then wait for each other, never in a circle.
    """
    if rows:
        connection.execute(insert_of(connection, table).on_conflict_do_nothing(index_elements=unique), list(rows))


def ids_of(
    connection: Connection,
    table: type[Table],
    rows: Sequence[Mapping[str, Any]],
    *,
    unique: tuple[str, ...],
    of: str,
) -> tuple[dict[Any, int], set[Any]]:
    """Adds rows as `add_missing`: the numbers of all of them, and which were new, by the column `of`.

    That column must tell `rows` apart.
    """
    columns = table.__table__.c
    key = columns[of]
    if not rows:
        return {}, set()
    adding = insert_of(connection, table).on_conflict_do_nothing(index_elements=unique).returning(columns.id, key)
    ids = {row[1]: row[0] for row in connection.execute(adding, list(rows))}
    new = set(ids)
    held = {tuple(row[name] for name in unique): row[of] for row in rows if row[of] not in new}
    if held:
        told = select(columns.id, *(columns[name] for name in unique)).where(key.in_(list(held.values())))
        ids |= {held[row[1:]]: row[0] for row in map(tuple, connection.execute(told)) if row[1:] in held}
    return ids, new


def insert_of(connection: Connection, table: type[Table]) -> postgresql.Insert | sqlite.Insert:
    """The database's own INSERT, which knows of conflicts."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
