"""Files of records and counts as tables of text: CSV by its lines, Parquet by its rows."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from bintally.errors import DataError, UsageError, did_you_mean
from bintally.inventory.bulk.cells import batches
from bintally.inventory.bulk.cells import header_of as csv_header
from bintally.inventory.reconcile.rejected import Rejections

CSV: Final = (".csv", ".tsv", ".txt")
PARQUET: Final = (".parquet", ".pq")


def read_table(
    path: Path, required: Sequence[str], optional: Iterable[str], rejections: Rejections, *, prefix: str = ""
) -> pl.DataFrame:
    """The named columns that a file has as text, null where empty, and `line`; torn lines are rejected.

    Columns that begin with `prefix`, if any, come too; in Parquet files they keep their type.

    Raises:
        UsageError: no such kind of file, or it can't be read.
        DataError: it lacks a required column, or has one twice.
    """
    wanted = {*required, *optional}
    try:
        if path.suffix.lower() in CSV:
            return _csv(path, required, wanted, rejections, prefix)
        if path.suffix.lower() in PARQUET:
            return _parquet(path, required, wanted, prefix)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UsageError(f"{path} can't be read: {error}.", hint="Look at the file.") from error
    raise UsageError(f"{path} has no known suffix.", hint=f"Tables end in {', '.join((*CSV, *PARQUET))}.")


def number(name: str) -> pl.Expr:
    """A cell as a finite number; null: it is none."""
    value = pl.col(name).cast(pl.Float64, strict=False)
    return pl.when(value.is_finite()).then(value)


def _csv(path: Path, required: Sequence[str], wanted: set[str], rejections: Rejections, prefix: str) -> pl.DataFrame:
    header = csv_header(path)
    names = [name.strip().lower() for name in header.columns]
    _check(path, names, required, wanted)
    kept = {f"column_{at}": name for at, name in enumerate(names) if _is_wanted(name, wanted, prefix)}
    parts = []
    for batch in batches(path, header):
        rejections.extend(str(path), batch.torn)
        parts.append(batch.rows.select("line", *kept).rename(kept))
    return pl.concat(parts)


def _parquet(path: Path, required: Sequence[str], wanted: set[str], prefix: str) -> pl.DataFrame:
    schema = pl.read_parquet_schema(path)
    _check(path, list(schema), required, wanted)
    names = [name for name in schema if _is_wanted(name, wanted, prefix)]
    shown = [_text(name, schema[name]) for name in names if name in wanted]
    table = pl.read_parquet(path, columns=names).with_columns(shown)
    return table.with_columns(line=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))


def _is_wanted(name: str, wanted: set[str], prefix: str) -> bool:
    return name in wanted or (bool(prefix) and name.startswith(prefix))


def _check(path: Path, names: list[str], required: Sequence[str], wanted: set[str]) -> None:
    lacking = [name for name in required if name not in names]
    if lacking:
        raise DataError(
            f"{path} lacks the column{'s'[: len(lacking) > 1]} {', '.join(lacking)}.",
            hint=did_you_mean(lacking[0], names),
        )
    if twice := [name for name in names if name in wanted and names.count(name) > 1]:
        raise DataError(f"{path} has the column {twice[0]!r} twice.", hint="Rename one of them.")


def _text(name: str, kind: pl.DataType) -> pl.Expr:
    if isinstance(kind, pl.Datetime):
        utc = pl.col(name).dt.convert_time_zone("UTC") if kind.time_zone else pl.col(name)
        return utc.dt.strftime("%Y-%m-%dT%H:%M:%S%.6f")
    if isinstance(kind, pl.Decimal):  # 1.000 as a number has no thousands
        return pl.col(name).cast(pl.Float64).cast(pl.String)
    return pl.col(name).cast(pl.String).str.strip_chars().replace("", None)
