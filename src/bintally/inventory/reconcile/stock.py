"""What the stock system says, from a file: a record a bin.

```
bin,product,quantity,unit,unit_value,abc,as_of          only bin and quantity are needed
A-01,B005LZT9CO,1,each,12.50,A,2026-11-20T08:00:00Z     several lines of a bin are its products
A-01,B013S9P6UI,2,each,4.00,C,2026-11-20T08:00:00Z
```

CSV, Parquet with these columns, or a folder of metadata files as ABID publishes them (NAME.json is the record of the
bin NAME). A bin is judged only if all its lines can be used: without one of them its sum would be another.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from bintally.errors import DataError
from bintally.inventory.bulk.rules import AMBIGUOUS, is_ambiguous, moments, whole
from bintally.inventory.reconcile.rejected import Rejections
from bintally.inventory.reconcile.tables import number, read_table
from bintally.inventory.values import MOST
from bintally.metadata import parse_metadata

REQUIRED: Final = ("bin", "quantity")
OPTIONAL: Final = ("product", "unit", "unit_value", "abc", "as_of")

_TEXTS: Final = dict.fromkeys((*REQUIRED, *OPTIONAL), pl.String)
_CLASSES: Final = ("A", "B", "C")
_LEAST: Final = "C"  # of a record that names no class
_COMMA: Final = "write a decimal point, no commas"


@dataclass(frozen=True)
class Stock:
    """Records, one a bin: bin, recorded, products, unit_value (mean of its items; null: unknown), abc, as_of."""

    table: pl.DataFrame
    rejected_bins: pl.Series  # bins that have a line, but no record that can be used


def read_stock(path: Path, rejections: Rejections) -> Stock:
    """The records of a file or folder.

    Raises:
        UsageError: it can't be read.
        DataError: it lacks a column, or has no record.
    """
    lines = _lines(path, rejections)
    if not lines.height:
        raise DataError(f"{path} has no record.", hint=f"Its columns are {', '.join((*REQUIRED, *OPTIONAL))}.")
    name = str(path)
    good, bad_bins = _readable(name, lines, rejections)
    good = _latest(good)
    good, contradictory = _without_doubles(name, good, rejections)
    bad_bins = pl.concat([bad_bins, contradictory]).unique()
    torn = good.filter(pl.col("bin").is_in(bad_bins.implode()))
    rejections.add(name, torn, "bin", "another line of this bin was rejected, so its record is not whole")
    return Stock(_by_bin(good.filter(~pl.col("bin").is_in(bad_bins.implode()))), bad_bins)


def _lines(path: Path, rejections: Rejections) -> pl.DataFrame:
    found = _metadata(path, rejections) if path.is_dir() else read_table(path, REQUIRED, OPTIONAL, rejections)
    lacking = [pl.lit(None, pl.String).alias(name) for name in _TEXTS if name not in found.columns]
    return found.with_columns(lacking)


def _metadata(folder: Path, rejections: Rejections) -> pl.DataFrame:
    rows = []
    for path in sorted(folder.glob("*.json")):
        found = parse_metadata(path.read_bytes())
        if found.expected_quantity is None:
            rejections.add_one(str(path), None, "EXPECTED_QUANTITY", "", "; ".join(found.problems))
        else:
            rows.append((path.stem, str(found.expected_quantity)))
    lines = pl.DataFrame(rows, schema={"bin": pl.String, "quantity": pl.String}, orient="row")
    return lines.with_columns(line=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))


def _readable(name: str, lines: pl.DataFrame, rejections: Rejections) -> tuple[pl.DataFrame, pl.Series]:
    """Lines with numbers in the place of text, and the bins of those that have none."""
    unit = pl.col("unit").fill_null("").str.to_lowercase()
    usual = _usual_unit(lines)
    abc = pl.col("abc").str.to_uppercase().fill_null(_LEAST)
    lines = lines.with_columns(
        number_=whole("quantity"),
        value_=number("unit_value"),
        abc_=pl.when(abc.is_in(_CLASSES)).then(abc),
        as_of_=moments(lines["as_of"]),
    )
    faults: dict[str, tuple[pl.Expr, str | pl.Expr]] = {
        "bin": (pl.col("bin").is_null(), "there is no bin"),
        "quantity": (pl.col("number_").is_between(0, MOST).fill_null(value=False).not_(), _quantity_fault()),
        "unit": (unit.is_in(["", usual]).not_(), f"most lines count in {usual!r}; units are not mixed"),
        "unit_value": (
            pl.col("unit_value").is_not_null() & (pl.col("value_").is_null() | (pl.col("value_") < 0)),
            pl.when(_has_comma("unit_value")).then(pl.lit(f"no amount: {_COMMA}")).otherwise(pl.lit("no amount")),
        ),
        "abc": (pl.col("abc_").is_null(), "no class: A, B or C"),
        "as_of": (pl.col("as_of").is_not_null() & pl.col("as_of_").is_null(), "no time like 2026-11-20T08:00:00Z"),
    }
    bad_bins = []
    for column, (is_wrong, why) in faults.items():
        wrong = lines.filter(is_wrong)
        if wrong.height:
            rejections.add(name, wrong, column, why)
            bad_bins.append(wrong["bin"].drop_nulls())
            lines = lines.filter(~is_wrong)
    good = lines.select(
        "line",
        "bin",
        pl.col("product").fill_null(""),
        quantity="number_",
        unit_value="value_",
        abc="abc_",
        as_of="as_of_",
    )
    return good, pl.concat(bad_bins).unique() if bad_bins else pl.Series("bin", [], pl.String)


def _usual_unit(lines: pl.DataFrame) -> str:
    units = lines["unit"].drop_nulls().str.to_lowercase()
    often = units.value_counts().sort("count", "unit", descending=[True, False])
    return str(often["unit"][0]) if often.height else ""


def _quantity_fault() -> pl.Expr:
    value = number("quantity")
    return (
        pl.when(pl.col("quantity").is_null())
        .then(pl.lit("there is no quantity"))
        .when(is_ambiguous("quantity"))
        .then(pl.lit(AMBIGUOUS))
        .when(value < 0)
        .then(pl.lit("a bin can't hold less than nothing"))
        .when(value != value.floor())
        .then(pl.lit("items are counted whole"))
        .when(value > MOST)
        .then(pl.lit(f"more than {MOST:,}"))
        .when(_has_comma("quantity"))
        .then(pl.lit(f"no number: {_COMMA}"))
        .otherwise(pl.lit("no number"))
    )


def _has_comma(column: str) -> pl.Expr:
    return pl.col(column).str.contains(",", literal=True)


def _latest(lines: pl.DataFrame) -> pl.DataFrame:
    """Only the last version of each bin's record."""
    if lines["as_of"].null_count() == lines.height:
        return lines
    start = pl.datetime(1, 1, 1, time_zone="UTC")
    as_of = pl.col("as_of").fill_null(start)
    return lines.filter(as_of == as_of.max().over("bin"))


def _without_doubles(name: str, lines: pl.DataFrame, rejections: Rejections) -> tuple[pl.DataFrame, pl.Series]:
    """Lines of a bin and product that stand there once, and the bins whose lines contradict each other."""
    key = ["bin", "product"]
    doubled = lines.filter(lines.select(key).is_duplicated())
    if not doubled.height:
        return lines, pl.Series("bin", [], pl.String)
    doubled = doubled.with_columns(
        first=pl.col("line").min().over(key),
        same=pl.struct("quantity", "unit_value", "abc").n_unique().over(key) == 1,
    )
    again = doubled.filter(pl.col("same") & (pl.col("line") > pl.col("first")))
    against = doubled.filter(~pl.col("same"))
    rejections.add(name, again, "bin", pl.format("it says the same as line {}", "first"))
    rejections.add(name, against, "quantity", "two lines of this bin and product say different things")
    out = pl.concat([again["line"], against["line"]])
    return lines.filter(~pl.col("line").is_in(out.implode())), against["bin"].unique()


def _by_bin(lines: pl.DataFrame) -> pl.DataFrame:
    if not lines["bin"].is_duplicated().any():
        return lines.select("bin", "unit_value", "abc", "as_of", recorded="quantity", products=pl.lit(1, pl.Int64))
    value = pl.col("unit_value") * pl.col("quantity")
    items = pl.col("quantity").sum()
    mean = pl.when(items > 0).then(value.sum() / items).otherwise(pl.col("unit_value").mean())
    return lines.group_by("bin", maintain_order=True).agg(
        unit_value=pl.when(pl.col("unit_value").null_count() == 0).then(mean),
        abc=pl.col("abc").min(),
        as_of=pl.col("as_of").max(),
        recorded=items,
        products=pl.len().cast(pl.Int64),
    )
