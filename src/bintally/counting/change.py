"""What two photos of a bin and its earlier count say of the new count.

The network compares the photos and knows nothing of counts: its `evidence` is the log likelihood of each change. What
one would say without any photo, P(change | earlier count), stands in the card; so that the two can be told apart, be
compared, and be given to the filter (`counting.following`) as a ratio.

Shapes: P pairs; D the largest change told apart; evidence_d float [2D+1]; K the count keys a model knows.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bintally.bundle import ChangeCard
from bintally.records import key_of

Floats = NDArray[np.float64]

_TINY: Final = 1e-12


def prior_of(card: ChangeCard, earlier: int) -> Floats:
    """P(change | earlier count) without any photo, [2D+1]; a bin can't hold less than nothing."""
    table_d = np.array(card.prior[min(earlier, len(card.prior) - 1)], np.float64)
    table_d[: max(card.max_change - earlier, 0)] = 0.0
    unchanged_d = np.zeros_like(table_d)
    unchanged_d[card.max_change] = 1.0
    prior_d: Floats = (1.0 - card.unchanged) * table_d / table_d.sum() + card.unchanged * unchanged_d
    return prior_d


def change_shares(
    card: ChangeCard, evidence_d: NDArray[np.floating], earlier: int, photo_ratios: Mapping[str, float]
) -> Floats:
    """P(change | earlier count, both photos), [2D+1].

    `photo_ratios` has, for each count key the model knows, P(count | later photo) over what it is without a photo.
    """
    prior_d = prior_of(card, earlier)
    keys = tuple(photo_ratios)
    scores_d = np.log(np.maximum(prior_d, _TINY)) + evidence_d / card.temperature
    for column in range(len(scores_d)):
        ratio = photo_ratios.get(key_of(max(earlier + column - card.max_change, 0), keys), 1.0) if keys else 1.0
        scores_d[column] += card.photo_weight * np.log(max(ratio, _TINY))
    shares_d = np.where(prior_d > 0, np.exp(scores_d - scores_d.max()), 0.0)
    normalised: Floats = shares_d / shares_d.sum()
    return normalised


def new_counts(card: ChangeCard, shares_d: Floats, earlier: int, keys: Sequence[str]) -> Floats:
    """Probabilities [K] of the new count's keys, from those of its change; what no key names is left out."""
    place = {key: index for index, key in enumerate(keys)}
    shares_k = np.zeros(len(keys))
    for column, share in enumerate(shares_d):
        count = earlier + column - card.max_change
        index = place.get(key_of(count, keys)) if count >= 0 else None
        if index is not None:
            shares_k[index] += share
    return shares_k
