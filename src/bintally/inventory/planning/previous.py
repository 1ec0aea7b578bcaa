"""An earlier plan: which of its looks have not been done."""

from datetime import date
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from bintally.errors import DataError, UsageError
from bintally.inventory.planning.candidates import COUNT, OVERDUE, PHOTO

COLUMNS: Final = {"day": pl.String, "look": pl.String, "bin": pl.String, "why": pl.String}


class Previous(NamedTuple):
    """The looks of an earlier plan (`bin`, `look`, `planned` as candidates have it), and the day it was for."""

    looks: pl.DataFrame
    day: date | None


def read_previous(path: Path) -> Previous:
    """What an earlier plan's file says.

    Raises:
        UsageError: it can't be read.
        DataError: it is no plan.
    """
    hint = "Give a file that `bintally plan --out` wrote."
    try:
        table = pl.read_parquet(path) if path.suffix.lower() == ".parquet" else pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UsageError(f"{path} can't be read: {str(error).splitlines()[0]}.", hint=hint) from error
    if missing := [name for name in COLUMNS if name not in table.columns]:
        raise DataError(f"{path} is no plan: it lacks {', '.join(missing)}.", hint=hint)
    table = table.select(pl.col(name).cast(kind) for name, kind in COLUMNS.items())
    days = table["day"].unique().to_list()
    whole = table["look"].is_in([COUNT, PHOTO]).all() and table["bin"].is_unique().all() and len(days) <= 1
    try:
        day = date.fromisoformat(days[0]) if days else None
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise DataError(f"{path} is no plan of one day.", hint=hint)
    planned = pl.when(look=COUNT, why=OVERDUE).then(pl.lit(OVERDUE)).otherwise("look")
    return Previous(table.select("bin", "look", planned=planned), day)


def undone(previous: Previous, *, counted: pl.DataFrame, photographed: pl.DataFrame, today: date) -> pl.DataFrame:
    """Bins that a look was planned for which nobody has taken since that day began: `bin` and `planned`.

    `counted` and `photographed`: `bin` and `days`, since its last count and its last photo until the end of `today`.
    """
    if previous.day is None:
        return previous.looks.drop("look")
    age = (today - previous.day).days + 1  # of the beginning of that day at the end of today
    done = [
        table.filter(pl.col("days") <= age).select("bin", look=pl.lit(look))
        for table, look in ((counted, COUNT), (photographed, PHOTO))
    ]
    return previous.looks.join(pl.concat(done), on=["bin", "look"], how="anti").drop("look")
