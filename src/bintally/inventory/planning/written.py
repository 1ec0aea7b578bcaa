"""A plan as a file that people, robots and the next plan read: .csv or .parquet."""

import io
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from bintally.artifacts import write_bytes
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
    """A row a look, atomically; reasons in one cell, separated by semicolons."""
    rows = [msgspec.structs.asdict(each) | {"day": day, "reasons": "; ".join(each.reasons)} for each in bins]
    table = pl.DataFrame(rows, schema=_COLUMNS)
    buffer = io.BytesIO()
    if target.suffix.lower() == ".parquet":
        table.write_parquet(buffer)
    else:
        table.write_csv(buffer)
    write_bytes(target, buffer.getvalue())
