"""Sets of counts with a promised coverage: "2 or 3, in 9 of 10 such photos the recorded count is among them".

Adaptive prediction sets (Romano, Sesia & Candès 2020, arXiv:2006.02544) in their deterministic form: counts are taken,
most probable first, until their total reaches a threshold, and that threshold is fitted on photos the model never saw.

Shapes: N photos, K counts asked for.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def count_sets(probabilities_nk: NDArray[np.floating], keys: Sequence[str], threshold: float) -> list[tuple[str, ...]]:
    """For each photo the smallest set of `keys` whose total reaches `threshold`, most probable first; never empty.

    Equally probable counts are taken from the smallest up, so that an answer never depends on chance.
    """
    order_nk, before_nk = _ranked(probabilities_nk)
    taken_n = np.maximum((before_nk < threshold).sum(axis=1), 1)
    return [tuple(keys[index] for index in order[:taken]) for order, taken in zip(order_nk, taken_n, strict=True)]


def fit_set_threshold(probabilities_nk: NDArray[np.floating], labels_n: NDArray[np.integer], coverage: float) -> float:
    """The threshold with which `count_sets` holds the true count for at least a share `coverage` of photos like these.

    `labels_n` are column indices of the true counts. The promise is split conformal prediction's: it holds on average
    over draws of the N photos, whatever the model's quality. With too few photos to promise it, all counts are taken.
    """
    photos = len(labels_n)
    rank = math.ceil((photos + 1) * coverage)
    if rank > photos:
        return math.nextafter(1.0, 2.0)
    order_nk, before_nk = _ranked(probabilities_nk)
    # A count is taken exactly when the total before it is below the threshold: that total is its score.
    scores_n = before_nk[order_nk == np.asarray(labels_n)[:, None]]
    return math.nextafter(float(np.sort(scores_n)[rank - 1]), 2.0)


def _ranked(probabilities_nk: NDArray[np.floating]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Columns, most probable first, and the total probability standing before each: [N, K] both."""
    exact_nk = np.asarray(probabilities_nk, np.float64)
    order_nk = np.argsort(-exact_nk, axis=1, kind="stable")
    sorted_nk = np.take_along_axis(exact_nk, order_nk, axis=1)
    before_nk = np.cumsum(sorted_nk, axis=1) - sorted_nk
    return order_nk, np.minimum(before_nk, 1.0)
