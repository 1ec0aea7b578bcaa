"""Where a model is better and worse: the judged photos cut by what is known of them beside the count.

Each cut turns the manifest's columns into one word a photo. Thirds are of the judged photos themselves, so that each
holds about equally many; where values repeat, equal ones stay together and there may be fewer parts.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bintally.counting import metrics
from bintally.counting.intervals import bootstrap_mean
from bintally.counting.report import Slice

LEAST_PHOTOS: Final = 20
"""A part with fewer is listed without figures: an interval of less says nothing."""

UNKNOWN: Final = "not known"
_MOST_PRODUCTS: Final = 4  # "4 and more" in one


def cut(table: pl.DataFrame) -> tuple[dict[str, list[str]], dict[str, str]]:
    """One word for each row of a manifest's `table` and each cut; and the cuts that can't be made, with why."""
    words, missing = {}, {}
    for name, (maker, source) in _CUTS.items():
        column = maker(table)
        if column is None:
            missing[name] = source
        elif len(set(column)) < 2:
            missing[name] = f"all photos are alike: {_label(column[0])}"
        else:
            words[name] = column
    return words, missing


def slices(
    words: dict[str, list[str]],
    probabilities_nk: metrics.Floats,
    labels_n: metrics.Ints,
    values_k: metrics.Floats,
    *,
    groups_n: NDArray[Any] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Iterator[Slice]:
    """The figures of each part of each cut; parts in their natural order, unknown last."""
    right = metrics.correct_terms(probabilities_nk, labels_n)
    square = metrics.error_terms(probabilities_nk, labels_n, values_k) ** 2
    for by, column in words.items():
        names = np.asarray(column)
        for value in sorted(set(column), key=lambda word: (word == UNKNOWN, word)):
            chosen = np.flatnonzero(names == value)
            label = _label(value)
            if len(chosen) < LEAST_PHOTOS:
                yield Slice(by, label, len(chosen), None, None, None)
                continue
            groups = None if groups_n is None else groups_n[chosen]
            yield Slice(
                by,
                label,
                len(chosen),
                bootstrap_mean(right[chosen], groups_n=groups, resamples=resamples, seed=seed),
                bootstrap_mean(square[chosen], groups_n=groups, finish=np.sqrt, resamples=resamples, seed=seed),
                float(np.bincount(labels_n[chosen]).max() / len(chosen)),
            )


def _label(word: str) -> str:
    return word.partition("|")[2] or word


def _encoding(table: pl.DataFrame) -> list[str] | None:
    return None if table["encoding"].is_null().all() else table["encoding"].fill_null(UNKNOWN).to_list()


def _products(table: pl.DataFrame) -> list[str] | None:
    distinct = pl.when(pl.col("metadata_path").is_not_null()).then(pl.col("product_ids").list.n_unique())
    numbers = table.select(distinct.alias("n"))["n"].to_list()
    if all(number is None for number in numbers):
        return None
    return [UNKNOWN if n is None else f"{min(n, _MOST_PRODUCTS)}{' and more' * (n >= _MOST_PRODUCTS)}" for n in numbers]


def _thirds(name: str, unit: str = "") -> Callable[[pl.DataFrame], list[str] | None]:
    def maker(table: pl.DataFrame) -> list[str] | None:
        if name not in table.columns or table[name].is_null().all():
            return None
        return _in_thirds(table[name].cast(pl.Float64).to_numpy(), unit)

    return maker


def _in_thirds(values_n: NDArray[np.float64], unit: str) -> list[str]:
    """A third for each value, such as "0|up to 71", "1|71 to 98", "2|above 98"; the digit keeps them in order."""
    known = np.isfinite(values_n)
    low, high = np.quantile(values_n[known], [1 / 3, 2 / 3])
    names = [f"0|up to {low:.0f}{unit}", f"1|{low:.0f} to {high:.0f}{unit}", f"2|above {high:.0f}{unit}"]
    parts = np.searchsorted([low, high], np.where(known, values_n, low), side="left")
    return [names[part] if known[n] else UNKNOWN for n, part in enumerate(parts)]


def _short_side(table: pl.DataFrame) -> list[str] | None:
    return _thirds("short_side_px", " px")(table.with_columns(short_side_px=pl.min_horizontal("width_px", "height_px")))


_CHECK_FIRST: Final = "not measured: `bintally check` does"
_CUTS: Final[dict[str, tuple[Callable[[pl.DataFrame], list[str] | None], str]]] = {
    "encoding": (_encoding, "the source does not tell"),
    "brightness": (_thirds("brightness"), _CHECK_FIRST),
    "sharpness": (_thirds("sharpness"), _CHECK_FIRST),
    "distinct products": (_products, "no photo has metadata"),
    "short side": (_short_side, _CHECK_FIRST),
}
