"""How sure a measured figure is: the bootstrap over photos, or over groups of photos that depend on each other.

Photos of one bin over time look alike, so a set of 1,000 photos of 600 bins says less than 1,000 unrelated ones:
with `groups_n`, whole bins are drawn (the cluster bootstrap, Field & Welsh 2007). Seeded: same numbers, same interval.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bintally.bundle import Figure

RESAMPLES: Final = 2000
LEVEL: Final = 0.95
_DRAWN_AT_ONCE: Final = 4_000_000  # 32 MB of indices


def bootstrap_mean(
    terms_n: NDArray[Any],
    *,
    groups_n: NDArray[Any] | None = None,
    finish: Callable[[NDArray[np.float64]], NDArray[np.float64]] = np.positive,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Figure:
    """`finish(mean(terms_n))` with its percentile interval; `finish` is monotone, such as `np.sqrt` for an RMSE.

    Vectorised: a resample of G groups is a row of how often each was drawn, so means are two matrix products.
    NaN without photos. The interval of a paired difference of two models is that of the difference of their terms.
    """
    terms = np.asarray(terms_n, np.float64)
    if not len(terms):
        return Figure(float("nan"), float("nan"), float("nan"))
    sums_g, sizes_g = _by_group(terms, groups_n)
    means = [(drawn @ sums_g) / (drawn @ sizes_g) for drawn in _drawn(len(sums_g), resamples, seed)]
    value = float(finish(np.asarray(terms.mean())))
    return _figure(value, finish(np.concatenate(means)), level)


def bootstrap_means(
    terms_nt: NDArray[Any],
    finish: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    groups_n: NDArray[Any] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Figure:
    """`finish` of T means over the same photos with its percentile interval, such as the difference of two RMSEs.

    `finish` maps [..., T] to [...]. Draws as `bootstrap_mean` does. NaN without photos.
    """
    terms = np.asarray(terms_nt, np.float64)
    if not len(terms):
        return Figure(float("nan"), float("nan"), float("nan"))
    by_term = [_by_group(terms_n, groups_n) for terms_n in terms.T]
    sums_gt, sizes_g = np.stack([sums_g for sums_g, _ in by_term], axis=1), by_term[0][1]
    means = [(drawn @ sums_gt) / (drawn @ sizes_g)[:, None] for drawn in _drawn(len(sums_gt), resamples, seed)]
    return _figure(float(finish(terms.mean(axis=0))), finish(np.concatenate(means)), level)


def bootstrap(figure: Callable[[NDArray[np.intp]], float], photos: int, **how: Any) -> Figure:
    """`bootstrap_all` of one figure."""
    return bootstrap_all(lambda chosen: [figure(chosen)], photos, **how)[0]


def bootstrap_all(
    figures: Callable[[NDArray[np.intp]], Sequence[float]],
    photos: int,
    *,
    groups_n: NDArray[Any] | None = None,
    resamples: int = 300,
    level: float = LEVEL,
    seed: int = 0,
) -> list[Figure]:
    """Any `figures` of a choice of photos (their indices, with repeats), with intervals; computed `resamples` times.

    Not for the ECE: the repeats in a resample raise it, so that its interval can miss the measured value
    (`metrics.ece_if_calibrated` says what to compare it with instead).
    """
    everything = np.arange(photos)
    values = figures(everything)
    if not photos:
        return [Figure(float("nan"), float("nan"), float("nan"))] * len(values)
    _, group_n = np.unique(everything if groups_n is None else groups_n, return_inverse=True)
    order = np.argsort(group_n, kind="stable")
    seen = []
    for drawn in _drawn(int(group_n.max()) + 1, resamples, seed):
        seen += [figures(np.repeat(order, times[group_n[order]])) for times in drawn.astype(np.intp)]
    return [_figure(value, column, level) for value, column in zip(values, np.array(seen, np.float64).T, strict=True)]


def share(right: int, photos: int, *, level: float = LEVEL) -> Figure:
    """`right` of `photos` with the Wilson score interval: for few photos, where all-right resamples to all-right.

    Takes the photos as independent. NaN without photos.
    """
    if not photos:
        return Figure(float("nan"), float("nan"), float("nan"))
    z = NormalDist().inv_cdf((1 + level) / 2)
    value = right / photos
    centre = (value + z * z / (2 * photos)) / (1 + z * z / photos)
    half = z / (1 + z * z / photos) * math.sqrt(value * (1 - value) / photos + z * z / (4 * photos * photos))
    return Figure(value, max(centre - half, 0.0), min(centre + half, 1.0))


def _drawn(groups: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each group was drawn, float [some resamples, groups], in pieces that fit in memory."""
    rng = np.random.default_rng(seed)
    step = max(1, _DRAWN_AT_ONCE // groups)
    for first in range(0, resamples, step):
        rows = min(step, resamples - first)
        cells = rng.integers(groups, size=(rows, groups)) + np.arange(rows)[:, None] * groups
        yield np.bincount(cells.ravel(), minlength=rows * groups).reshape(rows, groups).astype(np.float64)


def _by_group(
    terms_n: NDArray[np.float64], groups_n: NDArray[Any] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if groups_n is None:
        return terms_n, np.ones(len(terms_n))
    _, group_n = np.unique(groups_n, return_inverse=True)
    return np.bincount(group_n, terms_n).astype(np.float64), np.bincount(group_n).astype(np.float64)


def _figure(value: float, resampled: NDArray[np.float64], level: float) -> Figure:
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Figure(float(value), float(low), float(high))
