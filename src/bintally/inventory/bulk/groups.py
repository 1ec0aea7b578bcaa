"""Lines to records: those of one bin, time and key are one record.

A record with a broken line can't go in at all, since the rest of it would be another record.
"""

from typing import Final, NamedTuple

import polars as pl

from bintally.inventory.bulk.cells import REJECTS
from bintally.inventory.values import MOST, digest

_GROUP: Final = ("bin_id", "at", "key")


class Grouped(NamedTuple):
    """Facts to load, `n` 0, 1 .. in order of bin and file.

    `facts`: n, bin_id, key, quantity, at, received_at, and what else the kind has. `lines` (records): n, product_id,
    quantity. `of`: the file's `line` and the `n` it became part of. `told`: whether keys come from the file.
    """

    facts: pl.DataFrame
    lines: pl.DataFrame
    of: pl.DataFrame
    told: bool
    rejects: pl.DataFrame


def records_of(facts: pl.DataFrame, products: pl.DataFrame) -> Grouped:
    """The records in `facts.FACTS`."""
    told = facts.join(products.select("product_id", "product"), on="product_id", how="left", maintain_order="left")
    told = told.sort(*_GROUP, "line").with_columns(pl.struct(_GROUP).rle_id().alias("group"))
    once = told.unique(["group", "product_id", "quantity", "broken"], keep="first", maintain_order=True)
    judged = once.group_by("group").agg(
        pl.col("line").filter("broken").min().alias("broken_line"),
        (pl.col("product_id").drop_nulls().len() > pl.col("product_id").drop_nulls().n_unique()).alias("twice"),
        (pl.col("product_id").null_count() > 1).alias("totals"),
        ((pl.col("product_id").null_count() > 0) & (pl.col("product_id").count() > 0)).alias("mixed"),
        (pl.col("quantity").sum() > MOST).alias("beyond"),
    )
    why = (
        pl.when(pl.col("broken_line").is_not_null())
        .then(pl.format("belongs to the same record as line {}, which can't go in", "broken_line"))
        .when(pl.col("twice"))
        .then(pl.lit("another line tells another quantity for this bin, time and product"))
        .when(pl.col("totals"))
        .then(pl.lit("another line tells another quantity for this bin and time"))
        .when(pl.col("mixed"))
        .then(pl.lit("tells a total beside lines that tell its products"))
        .when(pl.col("beyond"))
        .then(pl.lit(f"the record's products are more than {MOST:,} items"))
    )
    judged = judged.select("group", why.alias("why"))
    told = told.join(judged, on="group", how="left", maintain_order="left")
    rejects = told.filter(pl.col("why").is_not_null(), ~pl.col("broken"))
    good = once.join(judged.filter(pl.col("why").is_null()), on="group", how="semi")
    return _grouped(good, told, _listed(rejects))


def _grouped(good: pl.DataFrame, told: pl.DataFrame, rejects: pl.DataFrame) -> Grouped:
    totals = (
        good.sort("group", "product")
        .group_by("group", maintain_order=True)
        .agg(
            pl.col("bin_id", "at", "key", "source", "received_at").first(),
            pl.col("line").min(),
            pl.col("quantity").sum(),
            pl.format("\x1f{}\x1f{}", "product", "quantity").drop_nulls().str.join("").alias("products"),
        )
        .sort("bin_id", "line")
        .with_row_index("n")
    )
    content = pl.format("{}|{}{}", pl.col("at").dt.epoch("us"), "quantity", "products")
    told_key = bool(totals["key"].count())
    records = with_keys(totals, content).select("n", "bin_id", "key", "quantity", "at", "received_at", "source")
    numbers = totals.select("group", "n")
    products = good.filter(pl.col("product_id").is_not_null()).join(numbers, on="group").sort("n", "product_id")
    of = told.filter(~pl.col("broken")).join(numbers, on="group").select("line", "n")
    return Grouped(records, products.select("n", "product_id", "quantity"), of, told_key, rejects)


def movements_of(facts: pl.DataFrame, products: pl.DataFrame) -> Grouped:
    """The movements in `facts.FACTS`: each line is one."""
    good = facts.filter(~pl.col("broken"))
    good = good.join(products.select("product_id", "product"), on="product_id", how="left", maintain_order="left")
    told_key = bool(good["key"].count())
    content = pl.format("{}|{}|{}", pl.col("at").dt.epoch("us"), "quantity", pl.col("product").fill_null(""))
    good = with_keys(good, content).sort("bin_id", "line")
    content_of = ("bin_id", "key", "quantity", "product_id", "at")
    once = good.unique(content_of, keep="first", maintain_order=True).with_row_index("n")
    of = good.join(once.select(*content_of, "n"), on=content_of, nulls_equal=True).select("line", "n")
    moves = once.select("n", "bin_id", "key", "product_id", "quantity", "at", "received_at")
    return Grouped(moves, pl.DataFrame(), of, told_key, pl.DataFrame(schema=REJECTS))


def with_keys(facts: pl.DataFrame, content: pl.Expr) -> pl.DataFrame:
    """The facts with keys from their content where they have none: those of `values.record_key`, `movement_key`."""
    without = facts.select(pl.when(pl.col("key").is_null()).then(content).alias("content"))["content"]
    keys = [None if text is None else digest(text) for text in without.to_list()]
    return facts.with_columns(pl.coalesce("key", pl.Series("made", keys, pl.String)).alias("key"))


def _listed(broken: pl.DataFrame) -> pl.DataFrame:
    return broken.select(
        "line",
        pl.lit("quantity").alias("column"),
        pl.col("quantity").cast(pl.String).alias("value"),
        "why",
    )
