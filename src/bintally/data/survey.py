"""The numbers of the explore page: what a manifest and its records say, before anything is drawn."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from bintally.data.grouping import neighbour_groups
from bintally.manifest import Manifest
from bintally.metadata import parse_metadata
from bintally.progress import Task
from bintally.records import COUNT_KEYS, Product, key_of

MOST_CHANGE: Final = 4
"""Larger changes of a count between two photos are counted with this one."""

MINUS: Final = "\N{MINUS SIGN}"

Kinds = dict[str, NDArray[np.float64]]


class Visits(msgspec.Struct, frozen=True):
    """Bins over time: how often each was photographed, and how its recorded count changed from photo to photo."""

    bins: int
    photos_per_bin: dict[str, int]
    pairs: int
    changes: dict[str, int]


class Shelf(msgspec.Struct, frozen=True):
    """What the records (a sample of them, where there are many) say about products."""

    records: int
    products: dict[str, Product]  # by ASIN
    distinct_by_count: NDArray[np.int64]  # [distinct products, count], both 0..5, 6+


def with_bins(manifest: Manifest) -> pl.DataFrame:
    """The manifest's table with every `group` known, in the order the photos were numbered."""
    table = manifest.table
    if table["group"].null_count():
        table = table.with_columns(neighbour_groups(table).alias("group"))
    return table.sort(pl.col("bin_image_id").str.len_chars(), "bin_image_id")


def counts_by_key(usable: pl.DataFrame) -> dict[str, int]:
    """Photos of each count key, those without any included."""
    found = dict(usable.group_by("count_key").len().iter_rows())
    return {key: found.get(key, 0) for key in COUNT_KEYS}


def by_kind(table: pl.DataFrame, column: str) -> Kinds:
    """A column's known values for each encoding; one nameless kind where the source names none."""
    known = table.drop_nulls(column).with_columns(pl.col("encoding").fill_null("others" if _named(table) else "photos"))
    parts = known.sort("encoding").group_by("encoding", maintain_order=True)
    return {str(kind): part[column].cast(pl.Float64).to_numpy() for (kind,), part in parts}


def visits(table: pl.DataFrame) -> Visits:
    """`table` is that of `with_bins`, only rows with a count."""
    per_bin = table.group_by("group").len()["len"]
    steps = table.select((pl.col("recorded_count") - pl.col("recorded_count").shift(1)).over("group")).to_series()
    known = steps.drop_nulls().clip(-MOST_CHANGE, MOST_CHANGE)
    return Visits(
        bins=len(per_bin),
        photos_per_bin=_histogram(per_bin, 1, 6, last="6+"),
        pairs=len(known),
        changes={
            f"{'≤ ' * (step == -MOST_CHANGE)}{'≥ ' * (step == MOST_CHANGE)}{_signed(step)}": int((known == step).sum())
            for step in range(-MOST_CHANGE, MOST_CHANGE + 1)
        },
    )


def shelf(folder: Path, usable: pl.DataFrame, *, most: int, seed: int, task: Task) -> Shelf:
    """Reads the records of at most `most` photos, drawn with `seed`; what makes no sense is left out."""
    rows = usable.drop_nulls("metadata_path")
    if rows.height > most:
        rows = rows.sample(most, seed=seed)
    cells = np.zeros((len(COUNT_KEYS), len(COUNT_KEYS)), dtype=np.int64)
    products: dict[str, Product] = {}
    records = 0
    for path, count in rows.select("metadata_path", "recorded_count").iter_rows():
        task.advance()
        try:
            record = parse_metadata((folder / path).read_bytes())
        except OSError:
            continue
        if record.problems:
            continue
        records += 1
        products.update({product.asin: product for product in record.products})
        cells[COUNT_KEYS.index(key_of(len(record.products))), COUNT_KEYS.index(key_of(count))] += 1
    return Shelf(records, products, cells)


def measures(products: Mapping[str, Product]) -> Kinds:
    """Known sizes of products: the three sides in inches, smallest first, the weight in pounds."""
    sides = [
        sorted((product.height_in, product.length_in, product.width_in))
        for product in products.values()
        if product.height_in and product.length_in and product.width_in
    ]
    weights = [product.weight_lb for product in products.values() if product.weight_lb]
    sides_n3 = np.array(sides, dtype=np.float64).reshape(-1, 3)
    return {
        "shortest side": sides_n3[:, 0],
        "middle side": sides_n3[:, 1],
        "longest side": sides_n3[:, 2],
        "weight": np.array(weights, dtype=np.float64),
    }


def _named(table: pl.DataFrame) -> bool:
    return table["encoding"].null_count() < table.height


def _histogram(values: pl.Series, low: int, high: int, *, last: str) -> dict[str, int]:
    clipped = values.clip(upper_bound=high)
    return {last if value == high else str(value): int((clipped == value).sum()) for value in range(low, high + 1)}


def _signed(step: int) -> str:
    return "0" if step == 0 else f"{'+' if step > 0 else MINUS}{abs(step)}"
