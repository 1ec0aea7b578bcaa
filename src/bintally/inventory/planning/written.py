"""A plan as a file that people, robots and the next plan read: .csv or .parquet."""

import io
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from bintally.artifacts import write_bytes
from bintally.errors import UsageError
from bintally.inventory.formulas import as_words, is_formula
from bintally.inventory.planning.report import Planned

SUFFIXES: Final = (".csv", ".parquet")

_COLUMNS: Final[dict[str, Any]] = {
    "day": pl.String,
    "look": pl.String,
    "step": pl.Int64,
    "bin": pl.String,
    "aisle": pl.String,
    "position": pl.Float64,
    "abc": pl.String,
    "units": pl.Int64,
    "unit_value": pl.Float64,
    "wrong": pl.Float64,
    "at_stake": pl.Float64,
    "worth": pl.Float64,
    "why": pl.String,
    "reasons": pl.String,
}


def write_plan(bins: tuple[Planned, ...], day: str, target: Path) -> None:
    """A row a look, atomically; reasons in one cell, separated by semicolons.

    Raises:
        UsageError: a spreadsheet would take a code for a formula, and `target` is a .csv.
    """
    is_csv = target.suffix.lower() != ".parquet"
    codes = [code for each in bins for code in (each.bin, each.aisle) if code is not None]
    formula = next(filter(is_formula, codes), None) if is_csv else None
    if formula is not None:
        raise UsageError(
            f"A spreadsheet would take {formula!r} for a formula.",
            hint="Write the plan as .parquet, or look at --json.",
        )
    rows = [msgspec.structs.asdict(each) | {"day": day, "reasons": "; ".join(each.reasons)} for each in bins]
    table = pl.DataFrame(rows, schema=_COLUMNS)
    buffer = io.BytesIO()
    if is_csv:
        table.with_columns(pl.col("why", "reasons").map_elements(as_words, return_dtype=pl.String)).write_csv(buffer)
    else:
        table.write_parquet(buffer)
    write_bytes(target, buffer.getvalue())
