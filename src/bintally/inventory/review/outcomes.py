"""What people found of records: right or wrong, and how likely each was to be looked at."""

from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl
from sqlalchemy import Connection, select

from bintally.inventory import schema
from bintally.inventory.ledger import Site
from bintally.inventory.policy.cases import CLASSES
from bintally.inventory.policy.settings import PolicySettings
from bintally.inventory.review.case import is_closed, stands
from bintally.inventory.review.tolerance import tolerances_of

_AT_ONCE: Final = 100_000

_FOUND: Final[dict[str, Any]] = {
    "decision_id": pl.Int64,
    "bin": pl.Int64,
    "record_id": pl.Int64,
    "outcome": pl.String,
    "kind": pl.String,
    "recorded": pl.Int64,
    "counted": pl.Int64,
    "propensity": pl.Float64,
    "decided_at": pl.Datetime("us", "UTC"),
}
_LINES: Final[dict[str, Any]] = {"record_id": pl.Int64, "product": pl.Int64}
_PRODUCTS: Final[dict[str, Any]] = {"product": pl.Int64, "abc_class": pl.String, "unit_value": pl.Float64}


def outcomes(
    connection: Connection,
    site: Site,
    *,
    settings: PolicySettings | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> pl.DataFrame:
    """A row for each record of a site that a person found right or wrong, by the decision that stands.

    Columns, as `policy.rates` has them: `bin` and `product` (numbers; null: several products, or none named),
    `abc_class` (the strictest of several; A where none is named), `wrong`, `propensity`; and record_id, unit_value (of
    the dearest product), outcome (the verdict's), kind, recorded, counted, decided_at, decision_id. `wrong`: off by
    more than the tolerance of `settings` (None: at all), or by product. A record that was looked at several times
    counts once, by the last look.
    """
    found = _frame(connection, _found(site, since, until), _FOUND)
    found = found.sort("decision_id").unique("record_id", keep="last", maintain_order=True)
    table = found.join(_products(connection, site), on="record_id", how="left", maintain_order="left")
    table = table.with_columns(pl.col("abc_class").fill_null("A"))
    off = (table["counted"] - table["recorded"]).abs().to_numpy()
    by_product = ((table["kind"] == "correct") & (table["counted"] == table["recorded"])).to_numpy()
    return table.with_columns(wrong=pl.Series((off > _allowed(table, settings)) | by_product, dtype=pl.Boolean))


def _found(site: Site, since: datetime | None, until: datetime | None) -> Any:
    decision, review, verdict, record = schema.Decision, schema.Review, schema.Verdict, schema.StockRecord
    query = (
        select(
            decision.id,
            review.bin_id,
            verdict.record_id,
            verdict.outcome,
            decision.kind,
            record.quantity,
            decision.count,
            review.propensity,
            decision.made_at,
        )
        .join(review, review.id == decision.review_id)
        .join(verdict, verdict.id == review.verdict_id)
        .join(record, record.id == verdict.record_id)
        .join(schema.Bin, schema.Bin.id == review.bin_id)
        .where(schema.Bin.site_id == site.id, decision.kind.in_(("accept", "correct")), *stands())
    )
    if since is not None:
        query = query.where(decision.made_at >= since)
    return query if until is None else query.where(decision.made_at < until)


def _products(connection: Connection, site: Site) -> pl.DataFrame:
    """By decided record: its product, where it names one; the strictest class; the dearest unit value."""
    line, product = schema.StockLine, schema.Product
    decided = (
        select(schema.Verdict.record_id)
        .join(schema.Review, schema.Review.verdict_id == schema.Verdict.id)
        .where(is_closed())
    )
    lines = _frame(connection, select(line.record_id, line.product_id).where(line.record_id.in_(decided)), _LINES)
    of_site = select(product.id, product.abc, product.unit_value).where(product.site_id == site.id)
    return (
        lines.join(_frame(connection, of_site, _PRODUCTS), on="product", how="inner")
        .group_by("record_id")
        .agg(
            product=pl.when(pl.len() == 1).then(pl.col("product").first()),
            abc_class=pl.col("abc_class").min(),
            unit_value=pl.col("unit_value").max(),
        )
    )


def _frame(connection: Connection, query: Any, columns: dict[str, Any]) -> pl.DataFrame:
    parts = [pl.DataFrame(schema=columns)]
    for part in connection.execute(query.execution_options(yield_per=_AT_ONCE)).partitions():
        values = dict(zip(columns, zip(*part, strict=True), strict=True))
        if "unit_value" in values:
            values["unit_value"] = tuple(None if value is None else float(value) for value in values["unit_value"])
        parts.append(pl.DataFrame(values, schema=columns))
    return pl.concat(parts)


def _allowed(table: pl.DataFrame, settings: PolicySettings | None) -> Any:
    if settings is None:
        return np.zeros(len(table), np.int64)
    codes = table["abc_class"].replace_strict(
        {name: index for index, name in enumerate(CLASSES)}, return_dtype=pl.UInt8
    )
    values = table["unit_value"].fill_null(float("nan")).to_numpy()
    return tolerances_of(settings, table["recorded"].to_numpy(), codes.to_numpy(), values)
