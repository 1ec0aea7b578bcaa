"""Gives each photo of a manifest its group and its split: as the source gave it, drawn anew, or grown from before."""

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bintally.data.grouping import neighbour_groups
from bintally.data.staying import Before
from bintally.data.stratify import assign_groups
from bintally.errors import DataError
from bintally.manifest import Manifest
from bintally.records import COUNT_KEYS

How = Literal["auto", "grouped", "given", "random_that_leaks"]

_ID: Final = "bin_image_id"


def divided(
    manifest: Manifest, how: How, shares: Mapping[str, float], *, seed: int, stays: Before | None = None
) -> pl.DataFrame:
    """The manifest's table with `group` and `split`; photos that can't be used have no split.

    `stays`: photos of this one stay where they were; the shares are those of all photos together.

    Raises:
        DataError: there are too few bins for so many splits.
    """
    known = manifest.table if stays is None else stays.with_gone_ones(manifest.table)
    known = known.with_columns(neighbour_groups(known))
    table = known.head(manifest.table.height)
    usable = manifest.with_table(table).usable()
    if how == "given":
        parts = usable.select(_ID, "split")
    elif stays is None:
        parts = _drawn(usable, how, shares, seed)
    else:
        parts = _grown(usable, stays.homes(known), how, shares, seed)
    return table.drop("split").join(parts, on=_ID, how="left", maintain_order="left")


def _grown(usable: pl.DataFrame, homes: pl.DataFrame, how: How, shares: Mapping[str, float], seed: int) -> pl.DataFrame:
    """`bin_image_id` and `split`: photos of known bins go home, the others are drawn beside them."""
    known = usable.drop("split").join(homes, on=_ID, how="left", maintain_order="left")
    held, new = known.filter(pl.col("home").is_not_null()), known.filter(pl.col("home").is_null())
    if new.is_empty():
        return held.select(_ID, "split")
    held_sk = np.stack([_per_count(held.filter(pl.col("split") == name)) for name in shares])
    return pl.concat([held.select(_ID, "split"), _drawn(new, how, shares, seed, held_sk=held_sk)])


def _drawn(
    usable: pl.DataFrame, how: How, shares: Mapping[str, float], seed: int, held_sk: NDArray[np.int64] | None = None
) -> pl.DataFrame:
    """`bin_image_id` and `split` of photos; whole groups, or (the naive way) each photo by itself."""
    unit = _ID if how == "random_that_leaks" else "group"
    table = usable.group_by(unit).agg((pl.col("count_key") == key).sum().alias(key) for key in COUNT_KEYS).sort(unit)
    if held_sk is None and table.height < len(shares):
        raise DataError(
            f"All {usable.height} photos belong to {table.height} bin(s): too few for {len(shares)} splits.",
            hint="Fetch photos of more bins, or ask for fewer parts: --fractions 80/20.",
        )
    chosen_g = assign_groups(
        table.select(COUNT_KEYS).to_numpy().astype(np.int64),
        np.array(list(shares.values())),
        np.random.default_rng(seed),
        held_sk=held_sk,
    )
    names = np.array(list(shares))[chosen_g]
    parts = table.select(unit, split=pl.Series(names, dtype=pl.String))
    return usable.drop("split").join(parts, on=unit).select(_ID, "split")


def _per_count(photos: pl.DataFrame) -> NDArray[np.int64]:
    """Photos of each count [K]."""
    return np.array([(photos["count_key"] == key).sum() for key in COUNT_KEYS], dtype=np.int64)
