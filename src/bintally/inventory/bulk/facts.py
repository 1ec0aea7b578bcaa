"""Lines as facts: typed, with the numbers of their bins and products, judged."""

from typing import Final, Literal, NamedTuple, TypeAlias

import polars as pl
from sqlalchemy import Connection, select

from bintally.inventory import schema
from bintally.inventory.bulk.columns import MOMENT
from bintally.inventory.bulk.rules import (
    Rule,
    judge,
    missing,
    moment_rules,
    moments,
    named,
    unit_rules,
    whole,
    whole_rules,
)
from bintally.inventory.ledger import Site
from bintally.inventory.values import MOST

FactKind: TypeAlias = Literal["records", "movements"]

FACTS: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "line": pl.Int64,
    "bin_id": pl.Int64,
    "product_id": pl.Int64,
    "quantity": pl.Int64,
    "at": pl.Datetime("us", "UTC"),
    "key": pl.String,
    "source": pl.String,
    "received_at": pl.Datetime("us", "UTC"),
    "broken": pl.Boolean,
}
"""A line that names its bin and time. `broken`: it can't go in, and neither can the rest of its record."""


class Known(NamedTuple):
    """A site's bins (`bin`, `bin_id`) and products (`product`, `product_id`, `product_unit`)."""

    site: Site
    bins: pl.DataFrame
    products: pl.DataFrame


def known_of(connection: Connection, site: Site) -> Known:
    """What a site has."""
    bins, products = schema.Bin, schema.Product
    of_bins = connection.execute(select(bins.code, bins.id).where(bins.site_id == site.id))
    of_products = connection.execute(
        select(products.sku, products.id, products.unit).where(products.site_id == site.id)
    )
    return Known(
        site,
        pl.DataFrame([tuple(row) for row in of_bins], schema={"bin": pl.String, "bin_id": pl.Int64}, orient="row"),
        pl.DataFrame(
            [tuple(row) for row in of_products],
            schema={"product": pl.String, "product_id": pl.Int64, "product_unit": pl.String},
            orient="row",
        ),
    )


def facts_of(
    rows: pl.DataFrame, kind: FactKind, known: Known, *, create_bins: bool
) -> tuple[pl.DataFrame, pl.DataFrame, pl.Series]:
    """A batch's lines as `FACTS`, those that can't go in as `cells.REJECTS`, and the codes of bins to create first.

    Where there are bins to create, ask again when they are known.
    """
    time = MOMENT[kind]
    told = ("product", "unit", "key", "source", "received_at")
    rows = rows.with_columns(pl.lit(None, pl.String).alias(column) for column in told if column not in rows.columns)
    typed = rows.with_columns(
        whole("quantity").alias("quantity_n"),
        moments(rows[time]).alias("at"),
        moments(rows["received_at"]).alias("received_at_at"),
    ).with_columns(pl.col("at").alias(f"{time}_at"))
    joined = typed.join(known.bins, on="bin", how="left", maintain_order="left")
    joined = joined.join(known.products, on="product", how="left", maintain_order="left")
    judged, rejects = judge(joined, _rules(kind, known.site, create_bins=create_bins))
    unknown = judged.filter(~pl.col("broken") & pl.col("bin_id").is_null())["bin"].unique(maintain_order=True)
    facts = judged.filter(pl.col("bin_id").is_not_null(), pl.col("at").is_not_null()).select(
        "line",
        "bin_id",
        "product_id",
        pl.col("quantity_n").alias("quantity"),
        "at",
        "key",
        "source",
        pl.col("received_at_at").alias("received_at"),
        "broken",
    )
    return facts.cast(pl.Schema(FACTS)), rejects, unknown


def _rules(kind: FactKind, site: Site, *, create_bins: bool) -> list[Rule]:
    bins = [] if create_bins else [Rule("bin", pl.col("bin_id").is_null(), f"is no bin of site {site.code}")]
    unknown = pl.col("product").is_not_null() & pl.col("product_id").is_null()
    received = [rule for rule in moment_rules("received_at") if rule.why != missing("received_at").why]
    return [
        missing("bin"),
        *named("bin"),
        *whole_rules("quantity", lowest=0 if kind == "records" else -MOST),
        *moment_rules(MOMENT[kind]),
        *bins,
        Rule("product", unknown, f"is no product of site {site.code}"),
        *unit_rules(),
        *named("key"),
        *named("source"),
        *(rule._replace(broken=pl.col("received_at").is_not_null() & rule.broken) for rule in received),
    ]
