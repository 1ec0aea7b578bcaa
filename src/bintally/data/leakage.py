"""The leakage proof: what photos of one split tell about another's, counted on the finished table.

It looks at the result only, and doesn't care how it came about, so it judges a split that a source gave as well as
one of ours.
"""

from itertools import islice, product
from typing import Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from bintally.data.duplicates import near_pairs
from bintally.data.grouping import REACH, neighbour_pairs

NEAR_BITS: Final = 3
"""Of 64; up to here two difference hashes count as near duplicates (check's default)."""

SHOWN: Final = 200
"""Findings listed of each kind; all are counted."""


class Crossing(msgspec.Struct, frozen=True):
    """How many of the `checked` things lie in more than one split, and the first of them by id (or group name)."""

    checked: int
    crossing: int
    found: tuple[tuple[str, ...], ...] = ()


class LeakageProof(msgspec.Struct, frozen=True):
    """What crosses from one split into another.

    `groups`, `neighbours` (ids up to two apart that share a product) and `exact_duplicates` (same bytes) must not
    cross. `near_duplicates` (difference hashes at most 3 bits apart; None: not checked yet) are often just dark photos,
    and `unknown_neighbours` (next-door ids of which one has no record or an empty one) may be different bins: both are
    for a person to judge. `seen_in_train` is the share of a split's photos whose bin also stands in train.
    """

    groups: Crossing
    neighbours: Crossing
    exact_duplicates: Crossing
    near_duplicates: Crossing | None
    unknown_neighbours: Crossing
    seen_in_train: dict[str, float]

    @property
    def leaks(self) -> bool:
        """Whether anything crosses that must not."""
        return any(part.crossing for part in (self.groups, self.neighbours, self.exact_duplicates))

    def sentence(self) -> str:
        """The numbers, in words."""
        return (
            f"{self.groups.crossing} bins, {self.neighbours.crossing} pairs of neighbours that share a product and "
            f"{self.exact_duplicates.crossing} exact duplicates lie in more than one split"
        )


def prove(table: pl.DataFrame) -> LeakageProof:
    """What crosses between the splits of a manifest's `table` (rows without a split are in none)."""
    table = table.filter(pl.col("split").is_not_null())
    pairs = neighbour_pairs(table, reach=REACH)
    return LeakageProof(
        groups=_shared_values(table, "group", show="group"),
        neighbours=_crossing_pairs(table, pairs.filter(pl.col("shares"))),
        exact_duplicates=_shared_values(table, "sha256", show="bin_image_id"),
        near_duplicates=_near_duplicates(table),
        unknown_neighbours=_crossing_pairs(table, pairs.filter(pl.col("shares").is_null() & (pl.col("gap") == 1))),
        seen_in_train=_seen_in_train(table),
    )


def near_pairs_across(hashes_n: NDArray[np.uint64], parts_n: NDArray[np.integer]) -> tuple[int, NDArray[np.int64]]:
    """Pairs of 64-bit hashes at most `NEAR_BITS` apart and in different parts: how many, and the first [P, 2] of them.

    Equal hashes are counted together, so that ten thousand black frames are no fifty million pairs.
    """
    unique, inverse = np.unique(hashes_n, return_inverse=True)
    photos_up = np.zeros((unique.size, int(parts_n.max(initial=0)) + 1), dtype=np.int64)  # of unique hash u in part p
    np.add.at(photos_up, (inverse, parts_n), 1)
    same = np.repeat(np.flatnonzero((photos_up > 0).sum(axis=1) > 1)[:, None], 2, axis=1)
    pairs = np.concatenate([same, near_pairs(unique, NEAR_BITS)])
    left_p, right_p = photos_up[pairs[:, 0]], photos_up[pairs[:, 1]]
    crossing = left_p.sum(axis=1) * right_p.sum(axis=1) - (left_p * right_p).sum(axis=1)
    crossing[: len(same)] //= 2  # a hash with itself: each pair was counted from both ends
    return int(crossing.sum()), _first_pairs(inverse, parts_n, pairs[crossing > 0])


def _first_pairs(
    inverse: NDArray[np.int64], parts_n: NDArray[np.integer], pairs: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Up to `SHOWN` pairs of positions whose unique hashes are `pairs` and whose parts differ."""
    found: list[tuple[int, int]] = []
    for one, two in pairs.tolist():
        left, right = np.flatnonzero(inverse == one), np.flatnonzero(inverse == two)
        crossing = product(left[:SHOWN].tolist(), right.tolist())
        found += islice(((a, b) for a, b in crossing if parts_n[a] != parts_n[b] and (one != two or a < b)), SHOWN)
        if len(found) >= SHOWN:
            break
    return np.array(sorted(found)[:SHOWN], dtype=np.int64).reshape(-1, 2)


def _near_duplicates(table: pl.DataFrame) -> Crossing | None:
    known = table.filter(pl.col("dhash").is_not_null()).sort("bin_image_id")
    if known.is_empty():
        return None
    parts = known["split"].rank("dense").cast(pl.Int64).to_numpy()
    total, pairs = near_pairs_across(known["dhash"].to_numpy(), parts)
    ids = known["bin_image_id"].to_list()
    return Crossing(known.height, total, tuple((ids[a], ids[b]) for a, b in np.sort(pairs, axis=1).tolist()))


def _shared_values(table: pl.DataFrame, column: str, *, show: str) -> Crossing:
    """Values of `column` that stand in more than one split."""
    shown = pl.col(show).unique().sort().alias("shown")
    values = table.drop_nulls(column).group_by(column).agg(pl.col("split").n_unique(), shown)
    crossing = values.filter(pl.col("split") > 1).sort("shown")
    return Crossing(values.height, crossing.height, tuple(tuple(ids) for ids in crossing["shown"].head(SHOWN)))


def _crossing_pairs(table: pl.DataFrame, pairs: pl.DataFrame) -> Crossing:
    """Of `pairs` of rows (`first`, `second`), those whose splits differ."""
    splits, ids = table["split"], table["bin_image_id"]
    crossing = pairs.filter(splits.gather(pairs["first"]) != splits.gather(pairs["second"]))
    shown = crossing.head(SHOWN)
    found = zip(ids.gather(shown["first"]), ids.gather(shown["second"]), strict=True)
    return Crossing(pairs.height, crossing.height, tuple(found))


def _seen_in_train(table: pl.DataFrame) -> dict[str, float]:
    train = table.filter(pl.col("split") == "train")["group"].drop_nulls().unique()
    shares = (
        table.filter(pl.col("split") != "train")
        .group_by("split")
        .agg(pl.col("group").is_in(train.implode()).mean())
        .sort("split")
    )
    return dict(zip(shares["split"], shares["group"].fill_null(0.0), strict=True))
