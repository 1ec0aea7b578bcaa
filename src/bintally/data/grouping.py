"""Which photos show the same bin at different times: they stay together in every split, or the split leaks.

A bin is photographed at every touch, and ABID numbers photos in the order they were taken. Of two photos with
neighbouring ids whose records are known (10,970 ABID records, November 2026):

| ids apart | 1 | 2 | 3 to 12 | any two at random |
|---|---|---|---|---|
| share a product | 48.0% | 7.9% | under 0.02% | 0.03% |

So neighbours up to two ids apart that share a product are taken for one bin, and nothing further away is.
"""

from typing import Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

REACH: Final = 2
"""How many ids apart two photos of one bin may be (the table above)."""

NEAR_DUPLICATE: Final = "near_duplicate:"
"""Start of check's warning that a photo looks the same as another; the other's bin_image_id follows."""

COPIES: Final = ("duplicate", "contradicting_duplicate")
"""Codes with which check sets a photo aside that has the same bytes as another."""

Doubt = Literal["together", "apart"]

Edges = NDArray[np.int64]  # [E, 2], row numbers of two photos that belong together


def neighbour_groups(table: pl.DataFrame, *, reach: int = REACH, doubt: Doubt = "together") -> pl.Series:
    """The group of each row of a manifest's `table`: photos of one bin over time, and copies of a photo.

    Rows are joined when they are neighbours that share a product, bytes or near duplicates of each other, or already in
    one `group`. Next-door neighbours of which one has no record, or an empty one, may be the same bin or not: `doubt`
    says what becomes of them, where some rows have records and the source gave no groups to go by.

    A joined group keeps the first of the names it had; a new one is named "bin:" + its first id.
    """
    # Two empty files have the same bytes, but are no bin; a copy that check set aside still ties its bin to the other.
    reason = pl.element().str.split(":").list.first()
    copies = pl.col("quarantine").list.eval(reason.is_in(COPIES)).list.all().fill_null(True)
    edges = [
        _same_bin(table, reach=reach, doubt=doubt),
        _same_value(table["group"]),
        _same_value(table.select(pl.when(copies).then("sha256")).to_series()),
        _flagged(table),
    ]
    return _named(table, components(table.height, np.concatenate(edges)))


def neighbour_pairs(table: pl.DataFrame, *, reach: int = REACH) -> pl.DataFrame:
    """Pairs of rows whose ids are 1 to `reach` apart: `first`, `second` (row numbers), `gap`, `shares` a product.

    The neighbour of an id is the next number written the same way, so `00009` and `00010` are neighbours, `9` and
    `00010` are not. `shares` is null where a record is missing or empty.
    """
    rows = table.select(
        pl.int_range(pl.len()).alias("row"),
        "bin_image_id",
        pl.col("product_ids"),
        pl.col("bin_image_id").str.extract_groups(r"^(?<prefix>.*?)(?<digits>[0-9]{1,18})$").alias("id"),
    ).unnest("id")
    right = rows.select("bin_image_id", pl.col("row").alias("second"), pl.col("product_ids").alias("others"))
    return pl.concat([_pairs_apart(rows, right, gap) for gap in range(1, reach + 1)])


def components(size: int, edges: Edges) -> NDArray[np.int64]:
    """For each of `size` nodes the smallest node it is connected to through `edges` (union-find)."""
    parent = list(range(size))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for first, second in edges.tolist():
        a, b = root(first), root(second)
        parent[max(a, b)] = min(a, b)
    return np.fromiter((root(node) for node in range(size)), dtype=np.int64, count=size)


def _pairs_apart(rows: pl.DataFrame, right: pl.DataFrame, gap: int) -> pl.DataFrame:
    later = pl.col("prefix") + (pl.col("digits").cast(pl.Int64) + gap).cast(pl.String).str.zfill(
        pl.col("digits").str.len_chars()
    )
    known = (pl.col("product_ids").list.len() > 0) & (pl.col("others").list.len() > 0)
    shared = pl.col("product_ids").list.set_intersection(pl.col("others")).list.len() > 0
    return (
        rows.with_columns(later=later)
        .join(right, left_on="later", right_on="bin_image_id")
        .select(
            pl.col("row").alias("first"),
            "second",
            pl.lit(gap, dtype=pl.Int32).alias("gap"),
            pl.when(known).then(shared).alias("shares"),
        )
        .sort("first")
    )


def _same_bin(table: pl.DataFrame, *, reach: int, doubt: Doubt) -> Edges:
    pairs = neighbour_pairs(table, reach=reach)
    wanted = pl.col("shares")
    # Where records are the exception, joining all that have none would chain a whole folder into a few giant bins.
    recorded = table["product_ids"].is_not_null().sum()
    if doubt == "together" and recorded > table.height / 2:
        grouped = table["group"].is_not_null()
        told = grouped.gather(pairs["first"]) & grouped.gather(pairs["second"])
        pairs = pairs.with_columns(told=told)
        wanted = pl.col("shares").fill_null((pl.col("gap") == 1) & ~pl.col("told"))
    return _edges(pairs.filter(wanted))


def _same_value(values: pl.Series) -> Edges:
    """An edge from each row to the first row with its value; nulls equal nothing."""
    rows = pl.DataFrame({"value": values}).with_row_index("second").drop_nulls("value")
    first = pl.col("second").first().over("value").alias("first")
    return _edges(rows.with_columns(first).filter(pl.col("first") != pl.col("second")))


def _flagged(table: pl.DataFrame) -> Edges:
    """Edges of the near duplicates that check found, through photos in quarantine too: its links form trees."""
    rows = table.select(pl.int_range(pl.len()).alias("row"), "bin_image_id", "warnings")
    flags = rows.select(pl.col("row").alias("first"), "warnings").explode("warnings")
    return _edges(
        flags.filter(pl.col("warnings").str.starts_with(NEAR_DUPLICATE))
        .with_columns(pl.col("warnings").str.strip_prefix(NEAR_DUPLICATE))
        .join(rows.select("bin_image_id", pl.col("row").alias("second")), left_on="warnings", right_on="bin_image_id")
    )


def _edges(pairs: pl.DataFrame) -> Edges:
    return pairs.select(pl.col("first", "second").cast(pl.Int64)).to_numpy()


def _named(table: pl.DataFrame, component: NDArray[np.int64]) -> pl.Series:
    given = table["group"]
    prefix = "bin:"
    while given.str.starts_with(prefix).any():
        prefix += ":"  # a new name must not be one that the source gave to another bin
    name = pl.col("group").min().fill_null(prefix + pl.col("bin_image_id").min()).over("component").alias("group")
    return table.select("group", "bin_image_id").with_columns(component=component).select(name).to_series()
