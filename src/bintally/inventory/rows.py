"""Rows of the database as tables, a block at a time; as Parquet on disk, memory does not grow with the table."""

from pathlib import Path
from typing import Any, Final

import polars as pl
import sqlalchemy as sa

from bintally.artifacts import storage_errors
from bintally.database.types import Money, UtcTime

_BLOCK: Final = 100_000
_PLAIN: Final = (
    (sa.Boolean, pl.Boolean()),
    (sa.Integer, pl.Int64()),
    (sa.Float, pl.Float64()),
    (sa.String, pl.String()),
)


def schema_of(columns: Any) -> pl.Schema:
    """The polars types of a query's or table's columns."""
    return pl.Schema({column.name: _type(column.type) for column in columns})


def put_down(
    connection: sa.Connection, query: sa.Select[*tuple[Any, ...]], folder: Path, name: str
) -> tuple[pl.LazyFrame, int]:
    """A query's rows in files of `folder`: a lazy table of them, in order, and how many there are."""
    schema = schema_of(query.selected_columns)
    folder = folder / name
    folder.mkdir()
    count = 0
    result = connection.execution_options(yield_per=_BLOCK).execute(query)
    for at, block in enumerate(result.partitions(_BLOCK)):
        rows = pl.DataFrame([tuple(row) for row in block], schema=schema, orient="row")
        with storage_errors(folder):
            rows.write_parquet(folder / f"{at:06}.parquet")
        count += rows.height
    return (pl.scan_parquet(folder / "*.parquet") if count else pl.LazyFrame(schema=schema)), count


def write_table(rows: pl.LazyFrame, target: Path) -> None:
    """Lazy rows as a CSV or Parquet file (by its suffix), which appears whole or not at all."""
    part = target.with_name(f".{target.name}.tmp")
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if target.suffix.lower() == ".csv":
                rows.with_columns(pl.col(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")).sink_csv(part)
            else:
                rows.sink_parquet(part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


def _type(column: sa.types.TypeEngine[Any]) -> pl.DataType:
    if isinstance(column, UtcTime):
        return pl.Datetime("us", "UTC")
    if isinstance(column, Money):
        return pl.Decimal(38, 4)
    return next(kind for ours, kind in _PLAIN if isinstance(column, ours))


def table_of(connection: sa.Connection, query: sa.Executable, columns: Any) -> pl.DataFrame:
    """A query's rows as a table of `columns` (their polars types), read in parts so that only numbers are kept."""
    rows = connection.execute(query.execution_options(yield_per=_BLOCK))
    parts = (pl.DataFrame(part, schema=columns, orient="row") for part in rows.partitions())
    return pl.concat([pl.DataFrame(schema=columns), *parts])


def epoch_s(connection: sa.Connection, moment: Any) -> Any:
    """A column of moments as whole seconds since 1970."""
    if connection.dialect.name == "sqlite":
        return sa.cast(sa.func.strftime("%s", sa.func.substr(moment, 1, 19)), sa.BigInteger)
    return sa.cast(sa.func.floor(sa.func.extract("epoch", moment)), sa.BigInteger)


def number_in(connection: sa.Connection, body: Any, name: str) -> Any:
    """A number out of a column of JSON."""
    if connection.dialect.name == "sqlite":
        return sa.func.json_extract(body, f"$.{name}")
    return sa.cast(body, sa.JSON)[name].as_float()
