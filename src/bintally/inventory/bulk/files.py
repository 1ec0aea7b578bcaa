"""A file's rows as text, whatever it is: CSV by its lines, Parquet by its rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from bintally.errors import DataError
from bintally.inventory.bulk.cells import REJECTS, Batch, batches, header_of
from bintally.inventory.bulk.columns import Kind, columns_of

PARQUET: Final = (".parquet", ".pq")
_ROWS: Final = 250_000


class Opened(NamedTuple):
    """A file's rows in batches, and its columns that say nothing to us."""

    batches: Iterator[Batch]
    ignored: tuple[str, ...]
    size: int
    unit: str  # of `size` and `Batch.amount`


def open_file(path: Path, kind: Kind) -> Opened:
    """Opens a file of facts. Its batches have `line` (Parquet: the row, from 1) and the columns of `kind` it has.

    Raises:
        DataError: there is none, it can't be read, or a column is missing.
    """
    if not path.is_file():
        raise DataError(f"There is no file {path}.", hint="Name a CSV or Parquet file.")
    return _parquet(path, kind) if path.suffix.lower() in PARQUET else _csv(path, kind)


def _csv(path: Path, kind: Kind) -> Opened:
    header = header_of(path)
    columns, ignored = columns_of(kind, header.columns, str(path))
    kept = {f"column_{at}": name for at, name in enumerate(columns) if name not in ignored}

    def read() -> Iterator[Batch]:
        for batch in batches(path, header):
            yield batch._replace(rows=batch.rows.select("line", *kept).rename(kept))

    named = tuple(name for name in ignored if name)
    return Opened(read(), named, path.stat().st_size - header.end, "bytes")


def _parquet(path: Path, kind: Kind) -> Opened:
    try:
        table = pl.scan_parquet(path)
        schema = table.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} is no Parquet file that can be read.", hint=str(error).splitlines()[0]) from error
    columns, ignored = columns_of(kind, schema.names(), str(path))
    names = {name: column for name, column in zip(schema, columns, strict=True) if column not in ignored}
    for name, column in names.items():
        if schema[name].is_nested() or schema[name] == pl.Binary:
            raise DataError(
                f"Column {column!r} of {path} holds {schema[name]}.", hint="It should hold text or numbers."
            )
    wanted = table.select(_as_text(name, schema[name]).alias(column) for name, column in names.items())
    rows = int(pl.scan_parquet(path).select(pl.len()).collect().item())

    def read() -> Iterator[Batch]:
        first = 1
        for part in wanted.collect_batches(chunk_size=_ROWS, maintain_order=True):
            numbered = part.with_row_index("line", offset=first).with_columns(pl.col("line").cast(pl.Int64))
            first += part.height
            yield Batch(numbered, pl.DataFrame(schema=REJECTS), part.height)

    return Opened(read(), ignored, rows, "rows")


def _as_text(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(dtype, pl.Datetime):
        utc = column if dtype.time_zone is None else column.dt.convert_time_zone("UTC")
        return utc.dt.strftime("%Y-%m-%dT%H:%M:%S%.6f")
    return column.cast(pl.String).str.strip_chars().replace("", None)
