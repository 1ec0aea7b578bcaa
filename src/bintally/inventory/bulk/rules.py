"""What a line must say, judged for a whole batch at once: the first thing that is wrong with it is named."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, NamedTuple

import polars as pl

from bintally.database.types import now
from bintally.inventory.bulk.columns import MEASURES
from bintally.inventory.schema import CODE
from bintally.inventory.values import EACH, FIRST_YEAR, LAST_YEAR, MOST, UNIT

_SHOWN: Final = 80
_UNPRINTABLE: Final = r"[\p{C}\p{Z}--[ ]]"  # what `str.isprintable` refuses
_LARGEST: Final = 1e12
_AMBIGUOUS: Final = r"^[+-]?[1-9]\d{0,2}\.000$"  # "1.000" is one item, or in much of Europe a thousand
_FORMATS: Final = (  # the usual first: each is tried on what the ones before left
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%dT%H:%M%#z",
)


AMBIGUOUS: Final = "may have decimals or thousands: write it without the point"


_AHEAD: Final = timedelta(days=1)
"""How far a time may lie ahead: of a clock that is a little fast, or local time told as UTC. A photo of the year 2099
would be a bin's latest for as long."""


class Rule(NamedTuple):
    """Lines for which `broken` holds can't go in, because of `column`: `why`."""

    column: str
    broken: pl.Expr
    why: str


def judge(rows: pl.DataFrame, rules: Sequence[Rule]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows with `broken` (bool), and the broken ones as `cells.REJECTS`."""
    first = pl.coalesce(
        pl.when(rule.broken.fill_null(value=False)).then(pl.lit(at, pl.Int16)) for at, rule in enumerate(rules)
    )
    rows = rows.with_columns(first.alias("rule"))
    bad = rows.filter(pl.col("rule").is_not_null())
    names = [rule.column for rule in rules]
    value = pl.coalesce(
        pl.when(pl.col("column") == name).then(pl.col(name).cast(pl.String)) for name in dict.fromkeys(names)
    )
    at = list(range(len(rules)))
    listed = bad.with_columns(
        pl.col("rule").replace_strict(at, names, return_dtype=pl.String).alias("column"),
        pl.col("rule").replace_strict(at, [rule.why for rule in rules], return_dtype=pl.String).alias("why"),
    ).select("line", "column", value.str.slice(0, _SHOWN).alias("value"), "why")
    return rows.with_columns(pl.col("rule").is_not_null().alias("broken")).drop("rule"), listed


def missing(column: str) -> Rule:
    """An empty cell."""
    return Rule(column, pl.col(column).is_null(), "is missing")


def named(column: str) -> list[Rule]:
    """A name that can't be one."""
    return [
        Rule(column, pl.col(column).str.len_chars() > CODE, f"is longer than {CODE} characters"),
        Rule(column, pl.col(column).str.contains(_UNPRINTABLE), "holds characters that can't be printed"),
    ]


def whole(column: str) -> pl.Expr:
    """A cell as a whole number; 3.0 is one, 1.000 is none, as it may be a thousand."""
    plain = pl.col(column).str.replace(r"^([+-]?\d+)\.0*$", "$1").cast(pl.Int64, strict=False)
    return pl.when(~is_ambiguous(column)).then(plain)


def is_ambiguous(column: str) -> pl.Expr:
    """Whether a cell's point may separate thousands as well as decimals."""
    return pl.col(column).str.contains(_AMBIGUOUS)


def whole_rules(column: str, *, lowest: int) -> list[Rule]:
    """What is wrong with the cell of a quantity; `whole` of it is in NAME_n."""
    number, value = pl.col(column).cast(pl.Float64, strict=False), pl.col(f"{column}_n")
    none = value.is_null()
    return [
        missing(column),
        Rule(column, is_ambiguous(column), AMBIGUOUS),
        Rule(column, none & number.is_finite() & (number != number.round()), "is no whole number"),
        Rule(column, none & number.is_finite() & (number.abs() > MOST), f"is beyond {MOST:,}"),
        _comma(column),
        Rule(column, none, "is no number"),
        Rule(column, value < lowest, "is below 0" if lowest == 0 else f"is below {lowest:,}"),
        Rule(column, value > MOST, f"is beyond {MOST:,}"),
    ]


def _comma(column: str) -> Rule:
    has_comma = pl.col(column).str.contains(r"^[+-]?\d[\d.]*,\d+$")
    return Rule(column, has_comma, "is no number: write a decimal point, no commas")


def moments(cells: pl.Series) -> pl.Series:
    """Cells as moments in UTC: ISO 8601, a date alone is its first moment; null where that can't be read."""
    text = cells.str.strip_suffix("Z").str.strip_suffix("z").str.replace(" ", "T", literal=True)
    found = pl.Series(cells.name, [None], pl.Datetime("us", "UTC")).new_from_index(0, len(cells))
    for form in _FORMATS:
        left = (found.is_null() & text.is_not_null()).arg_true()
        if not len(left):
            break
        parsed = text.gather(left).str.to_datetime(form, time_unit="us", strict=False, time_zone=_zone(form))
        found = found.scatter(left, parsed.dt.replace_time_zone("UTC") if _zone(form) is None else parsed)
    return found


def _zone(form: str) -> str | None:
    return "UTC" if form.endswith("z") else None


def moment_rules(column: str) -> list[Rule]:
    """What is wrong with the cell of a time; `moments` of it are in NAME_at."""
    moment, year = pl.col(f"{column}_at"), pl.col(f"{column}_at").dt.year()
    return [
        missing(column),
        Rule(column, pl.col(f"{column}_at").is_null(), "is no time (2026-01-31T12:00:00Z)"),
        Rule(column, ~year.is_between(FIRST_YEAR, LAST_YEAR), f"lies outside {FIRST_YEAR} to {LAST_YEAR}"),
        Rule(column, moment > now() + _AHEAD, "lies in the future: is a clock wrong?"),
    ]


def unit_rules() -> list[Rule]:
    """A unit that is not the product's; `product_unit` is that, null for a total."""
    unit, right = pl.col("unit"), pl.col("product_unit").fill_null(EACH)
    return [Rule("unit", unit != right, "is not the unit the product is counted in")]


def product_rules(columns: Sequence[str]) -> list[Rule]:
    """What is wrong with a line of the catalogue; numbers are in NAME_n."""
    rules = [missing("product"), *named("product")]
    if "name" in columns:
        rules.append(Rule("name", pl.col("name").str.contains("\0", literal=True), "holds a NUL character"))
    if "abc" in columns:
        rules.append(Rule("abc", ~pl.col("abc").str.to_uppercase().is_in(["A", "B", "C"]), "is not A, B or C"))
    if "unit" in columns:
        rules.append(Rule("unit", pl.col("unit").str.len_chars() > UNIT, f"is longer than {UNIT} characters"))
        rules.append(Rule("unit", pl.col("unit").str.contains(_UNPRINTABLE), "holds characters that can't be printed"))
    for column in (column for column in MEASURES if column in columns):
        number = pl.col(f"{column}_n")
        rules.append(_comma(column))
        rules.append(
            Rule(column, pl.col(column).is_not_null() & ~number.is_finite().fill_null(value=False), "is no number")
        )
        rules.append(Rule(column, number < 0, "is below 0"))
        rules.append(Rule(column, number >= _LARGEST, "is too large"))
    return rules
