"""Rows in bulk into a temporary table of the database, from where plain SQL takes them on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import polars as pl
import sqlalchemy as sa

_TIME: Final = "%Y-%m-%d %H:%M:%S%.6f"  # as SQLAlchemy writes it on SQLite


@contextmanager
def staged(connection: sa.Connection, name: str, rows: pl.DataFrame, *columns: sa.Column[Any]) -> Iterator[sa.Table]:
    """A temporary table of `columns`, filled with the columns of `rows` (times in UTC); gone when the block ends.

    PostgreSQL is filled by COPY.
    """
    table = sa.Table(name, sa.MetaData(), *columns, prefixes=["TEMPORARY"])
    table.create(connection)
    fill(connection, name, rows)
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(f"ANALYZE {name}"))
    yield table
    table.drop(connection)


def fill(connection: sa.Connection, table: str, rows: pl.DataFrame) -> None:
    """Adds `rows` to a table with columns of these names, times in UTC."""
    if not rows.height:
        return
    columns = ", ".join(f'"{name}"' for name in rows.columns)
    if connection.dialect.name == "postgresql":
        _copy(connection, f"COPY {table} ({columns}) FROM STDIN (FORMAT csv)", rows)
        return
    marks = ", ".join("?" * rows.width)
    into = f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608 - our own names
    connection.exec_driver_sql(into, _with_times(rows, _TIME).rows())


def _copy(connection: sa.Connection, into: str, rows: pl.DataFrame) -> None:
    driver: Any = connection.connection.driver_connection
    text = _with_times(rows, f"{_TIME}+00").write_csv(include_header=False, quote_style="non_numeric", null_value="")
    with driver.cursor() as cursor, cursor.copy(into) as copy:
        copy.write(text.encode())


def _with_times(rows: pl.DataFrame, form: str) -> pl.DataFrame:
    return rows.with_columns(pl.col(pl.Datetime).dt.strftime(form))
