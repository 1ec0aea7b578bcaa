"""Many bins of which one photo is all that is known: what the filter over time would say, without a filter a bin.

Shapes: N bins, K keys that a photo was asked about, C counts 0..max_count.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bintally.counting import kernels
from bintally.counting.events import Photo
from bintally.counting.follow_settings import FollowSettings

Floats = NDArray[np.float64]


def single_photos(photos: Sequence[Photo], settings: FollowSettings) -> tuple[Floats, Floats]:
    """Probabilities [N, C] after each photo, and the same without it; bit by bit what `History` says of it alone."""
    start_c = kernels.start_c(settings.start, settings)
    own_nc = np.ones((len(photos), len(start_c)))
    for (keys, prior), rows in _alike(photos).items():
        total_prior = sum(prior)
        total_n1 = np.array([[sum(photos[row].probabilities.values())] for row in rows])
        shares_nk = np.array([[photos[row].probabilities.get(key, 0.0) for key in keys] for row in rows])
        prior_k = np.array([share / total_prior for share in prior])
        ratio_nk = np.where(prior_k > 0.0, shares_nk / total_n1 / np.where(prior_k > 0.0, prior_k, 1.0), 1.0)
        for column, key in enumerate(keys):
            own_nc[rows, kernels.counts_of(key, settings.max_count)] = ratio_nk[:, column : column + 1]
    joint_nc = start_c * ((1.0 - settings.misleading) * own_nc + settings.misleading)
    return (
        joint_nc / joint_nc.sum(axis=1, keepdims=True),
        np.broadcast_to(start_c / start_c.sum(), joint_nc.shape),
    )


def _alike(photos: Sequence[Photo]) -> dict[tuple[tuple[str, ...], tuple[float, ...]], list[int]]:
    """Photos by the keys and the mix that they were asked about."""
    rows: dict[tuple[tuple[str, ...], tuple[float, ...]], list[int]] = {}
    for row, photo in enumerate(photos):
        rows.setdefault((tuple(photo.prior), tuple(photo.prior.values())), []).append(row)
    return rows
