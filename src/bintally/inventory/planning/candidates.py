"""The table that a plan is chosen from, a row a bin: what its columns mean, and whether they make sense.

| column | |
|---|---|
| bin | its code; each once |
| abc | the class of its products, the most valuable of several: A, B, C |
| units | items recorded |
| unit_value | money for one item; null: unknown |
| right | P(record right) when a photo of it was last judged; null: never |
| days_since_count | since a person counted it; null: nobody has |
| days_since_photo | since the photo that `right` is from; null: there is none |
| moves_since | recorded movements since the later of both; there is neither: all that are known |
| factor | may be left out: how many times as often as the site's its records become wrong |
| rate | may be left out: P(record wrong) if nobody has ever looked; null: `wrong_records` of the settings |
| prior | may be left out: the P(right) `right` set out from, if that knew nothing of the bin's past; null: it did |
| moves_before | may be left out: movements from the last count (else all known) to that photo; null: none |
| planned | may be left out: the look planned before and not done, "count", "photo" or "overdue" (below); null: none |

"overdue" is a count that was set aside for the calendar. Days may be fractions. Other columns are passed through.
"""

from typing import Any, Final

import polars as pl

from bintally.errors import DataError
from bintally.inventory.policy.cases import CLASSES

COUNT: Final = "count"
PHOTO: Final = "photo"
OVERDUE: Final = "overdue"

REQUIRED: Final[dict[str, Any]] = {
    "bin": pl.String,
    "abc": pl.String,
    "units": pl.Int64,
    "unit_value": pl.Float64,
    "right": pl.Float64,
    "days_since_count": pl.Float64,
    "days_since_photo": pl.Float64,
    "moves_since": pl.Int64,
}
OPTIONAL: Final[dict[str, Any]] = {
    "factor": pl.Float64,
    "rate": pl.Float64,
    "prior": pl.Float64,
    "moves_before": pl.Int64,
    "planned": pl.String,
}

_AT_LEAST_0: Final = (
    "units",
    "unit_value",
    "days_since_count",
    "days_since_photo",
    "moves_since",
    "moves_before",
    "factor",
)


def checked(candidates: pl.DataFrame) -> pl.DataFrame:
    """The table with all columns, in their types.

    Raises:
        DataError: a column is missing, a bin occurs twice, or a value can't be.
    """
    if missing := [name for name in REQUIRED if name not in candidates.columns]:
        raise DataError(f"The candidates lack {', '.join(missing)}.", hint=f"They need {', '.join(REQUIRED)}.")
    absent = {name: pl.lit(None, kind) for name, kind in OPTIONAL.items() if name not in candidates.columns}
    try:
        typed = [pl.col(name).cast(kind) for name, kind in (REQUIRED | OPTIONAL).items()]
        table = candidates.with_columns(**absent).with_columns(typed)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"The candidates can't be read: {str(error).splitlines()[0]}.", hint=_HINT) from error
    reals = [name for name, kind in (REQUIRED | OPTIONAL).items() if kind == pl.Float64]
    table = table.with_columns(pl.col(reals).fill_nan(None)).with_columns(pl.col("factor").fill_null(1.0))
    _check(table)
    return table


def _check(table: pl.DataFrame) -> None:
    rules = [
        ("bin", pl.col("bin").is_not_null() & pl.col("bin").is_first_distinct()),
        ("abc", pl.col("abc").is_not_null() & pl.col("abc").is_in(CLASSES)),
        *((name, pl.col(name).is_not_null()) for name in ("units", "moves_since")),
        *((name, (pl.col(name) >= 0) & (pl.col(name) < _MOST)) for name in _AT_LEAST_0),
        *((name, pl.col(name).is_between(0.0, 1.0)) for name in ("right", "rate", "prior")),
        ("planned", pl.col("planned").is_in((COUNT, PHOTO, OVERDUE))),
    ]
    kept = table.select(rule.fill_null(value=True).all().alias(str(at)) for at, (_, rule) in enumerate(rules)).row(0)
    for (name, rule), fulfilled in zip(rules, kept, strict=True):
        if not fulfilled:
            row = table.filter(~rule.fill_null(value=True)).row(0, named=True)
            raise DataError(f"Bin {row['bin']!r}: {name} can't be {row[name]!r}, or stands twice.", hint=_HINT)


_MOST: Final = 1e12
_HINT: Final = "See the table in bintally.inventory.planning.candidates."
