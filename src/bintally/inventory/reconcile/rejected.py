"""Lines that can't be used: which, and why. The others go on."""

from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from bintally.artifacts import atomic_write

_SCHEMA: Final = {"file": pl.String, "line": pl.Int64, "column": pl.String, "value": pl.String, "why": pl.String}
_SHOWN: Final = 80  # characters of a cell


class Rejected(msgspec.Struct, frozen=True):
    """A line that was left out. `line` counts from 1, as editors do; in Parquet files rows count from 1."""

    file: str
    line: int | None
    column: str
    value: str
    why: str


class Rejections:
    """What was left out so far."""

    def __init__(self) -> None:
        self._parts: list[pl.DataFrame] = []

    def __len__(self) -> int:
        return sum(part.height for part in self._parts)

    def add(self, file: str, lines: pl.DataFrame, column: str, why: str | pl.Expr) -> None:
        """Lines of a table with `line`; `why`, an expression over them, or the same of all."""
        if not lines.height:
            return
        value = pl.col(column).cast(pl.String).fill_null("") if column in lines.columns else pl.lit("")
        reason = pl.lit(why) if isinstance(why, str) else why
        self._parts.append(
            lines.select(
                pl.lit(file).alias("file"),
                pl.col("line").cast(pl.Int64),
                pl.lit(column).alias("column"),
                value.str.slice(0, _SHOWN).alias("value"),
                reason.alias("why"),
            )
        )

    def add_one(self, file: str, line: int | None, column: str, value: str, why: str) -> None:
        """One line."""
        self._parts.append(pl.DataFrame([(file, line, column, value[:_SHOWN], why)], schema=_SCHEMA, orient="row"))

    def extend(self, file: str, found: pl.DataFrame) -> None:
        """Lines that were told as `line`, `column`, `value` and `why`."""
        if found.height:
            told = found.select(pl.lit(file).alias("file"), "line", "column", "value", "why")
            self._parts.append(told.with_columns(pl.col("column").fill_null("")))

    def table(self) -> pl.DataFrame:
        """All, in the order of files and lines."""
        return (
            pl.concat(self._parts).sort("file", "line", maintain_order=True)
            if self._parts
            else pl.DataFrame(schema=_SCHEMA)
        )

    def first(self, number: int) -> tuple[Rejected, ...]:
        """The first of them."""
        return tuple(Rejected(*row) for row in self.table().head(number).iter_rows())

    def write(self, path: Path) -> None:
        """All as CSV, atomically."""
        with atomic_write(path) as file:
            self.table().write_csv(file)
