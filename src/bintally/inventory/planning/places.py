"""Where bins are: their codes read as people read them, or a layout table.

A code is cut at its separators, or if it has none where letters and digits meet: the last part is the level, the one
before it the position along the aisle, and what is before that the aisle (A-12-3: aisle A, position 12, level 3). Of
two parts there is no level; one is a position.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import polars as pl

from bintally.errors import DataError
from bintally.inventory.reconcile.rejected import Rejections
from bintally.inventory.reconcile.tables import number, read_table

Natural: TypeAlias = tuple[tuple[int, int, str], ...]

_SEPARATORS: Final = re.compile(r"[\W_]+")
_RUNS: Final = re.compile(r"[0-9]+|[^\W\d_]+")
_LONGEST: Final = 15  # digits of a position; longer ones are told apart as text
_LAYOUT: Final = ("bin", "aisle", "position", "level")
_XY: Final = ("x", "y")


class Place(NamedTuple):
    """Where a bin is. `position` along the aisle, `level` above the floor; `xy`: metres, None: unknown."""

    aisle: str
    position: float
    level: Natural
    xy: tuple[float, float] | None = None


def natural(text: str) -> Natural:
    """A key by which texts sort as people sort them: A-2 before A-10."""
    return tuple(
        (0, int(run), "") if run.isdecimal() and len(run) <= _LONGEST else (1, 0, run.casefold())
        for run in _RUNS.findall(text)
    )


def place_of(code: str, pattern: re.Pattern[str] | None = None) -> Place | None:
    """Where the bin `code` is, by `pattern`'s groups aisle, position, level, else as above; None: it can't be read."""
    if pattern is not None:
        found = pattern.fullmatch(code.strip())
        if found is None:
            return None
        parts = found.groupdict(default="")
        return _place(parts["aisle"], parts["position"], parts.get("level", ""))
    cut = [part for part in _SEPARATORS.split(code) if part]
    cut = _RUNS.findall(code) if len(cut) < 2 else cut
    match cut:
        case []:
            return None
        case [position]:
            return _place("", position, "")
        case [aisle, position]:
            return _place(aisle, position, "")
    return _place("-".join(cut[:-2]), cut[-2], cut[-1])


def read_layout(path: Path, bins: Sequence[str]) -> dict[str, Place]:
    """The places of `bins` by a layout table (CSV or Parquet): bin, aisle, position, level[, x, y], x and y in metres.

    Raises:
        UsageError: it can't be read.
        DataError: a column is missing, a bin stands there twice, or a position, x or y is no number.
    """
    torn = Rejections()
    table = read_table(path, _LAYOUT, _XY, torn)
    if len(torn):
        first = torn.first(1)[0]
        raise DataError(f"{path}: line {first.line} {first.why}.", hint="Mend that line.")
    for name in ("position", *(name for name in _XY if name in table.columns)):
        _refuse(path, table, number(name).is_null(), name, "is no number")
    once = pl.col("bin").is_not_null() & pl.col("bin").is_first_distinct()
    _refuse(path, table, ~once, "bin", "is missing or there twice")
    has_xy = all(name in table.columns for name in _XY)
    chosen = table.filter(pl.col("bin").is_in(list(bins)))
    xy = [number(name) for name in _XY] if has_xy else []
    rows = chosen.select("bin", pl.col("aisle", "level").fill_null(""), number("position"), *xy)
    return {
        row["bin"]: Place(
            row["aisle"], row["position"], natural(row["level"]), (row["x"], row["y"]) if has_xy else None
        )
        for row in rows.iter_rows(named=True)
    }


def _refuse(path: Path, table: pl.DataFrame, bad: pl.Expr, column: str, why: str) -> None:
    found = table.filter(bad).head(1)
    if len(found):
        row = found.row(0, named=True)
        raise DataError(f"{path}: line {row['line']}: {column} {row[column]!r} {why}.", hint="Mend that line.")


def _place(aisle: str, position: str, level: str) -> Place:
    return Place(aisle, _position(position), natural(level))


def _position(text: str) -> float:
    """The first number in it; of letters alone, A is 1, B is 2, AA is 27."""
    digits = re.search(r"[0-9]+", text)
    if digits:
        return float(int(digits[0][:_LONGEST]))
    value = 0.0
    for letter in re.sub(r"[^A-Z]", "", text.upper())[:8]:
        value = value * 26 + ord(letter) - ord("A") + 1
    return value
