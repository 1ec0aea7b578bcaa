"""A long curve with few points that looks the same: what stands out is kept."""

import numpy as np
from numpy.typing import NDArray


def extremes(values_n: NDArray[np.float64], points: int) -> NDArray[np.intp]:
    """Indices of at most about `points` values, in order: each stretch's least and largest, and both ends.

    NaN is kept as the gap it is: a stretch that has one keeps its first.
    """
    length = len(values_n)
    if length <= points:
        return np.arange(length)
    bounds = np.linspace(0, length, max(points // 3, 1) + 1).astype(np.intp)
    kept = {0, length - 1}
    for first, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        stretch = values_n[first:stop]
        gaps = np.isnan(stretch)
        if gaps.any():
            kept.add(first + int(gaps.argmax()))
        if not gaps.all():
            kept |= {first + int(np.nanargmin(stretch)), first + int(np.nanargmax(stretch))}
    return np.array(sorted(kept), np.intp)


def means(values_n: NDArray[np.float64], points: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean position and mean value of at most `points` stretches of equal length."""
    bounds = np.linspace(0, len(values_n), min(points, len(values_n)) + 1).astype(np.intp)[:-1]
    sizes = np.diff([*bounds, len(values_n)])
    positions = np.arange(len(values_n), dtype=np.float64)
    return np.add.reduceat(positions, bounds) / sizes, np.add.reduceat(values_n, bounds) / sizes


def smoothed(values_n: NDArray[np.float64], span: int) -> NDArray[np.float64]:
    """Running mean over about `span` values, fewer at both ends; what is not finite is left out."""
    finite = np.isfinite(values_n)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values_n, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    places = np.arange(len(values_n))
    first, stop = np.maximum(places - span // 2, 0), np.minimum(places + span // 2 + 1, len(values_n))
    known = counts[stop] - counts[first]
    averages: NDArray[np.float64] = np.full(len(values_n), np.nan)
    np.divide(sums[stop] - sums[first], known, out=averages, where=known > 0)
    return averages
