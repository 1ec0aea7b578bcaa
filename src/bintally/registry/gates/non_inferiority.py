"""Is one model at most a little less often right than another, on the same photos? An exact test.

Photos on which two models differ may be few, and then intervals that rest on many are wrong: of 20 photos without any
difference, the sign-flip test of the shifted difference concludes that nothing is lost. So: Tango's score (1998,
doi:10.1002/(SICI)1097-0258(19980430)17:8<891::AID-SIM780>3.0.CO;2-B), and its p-value as the largest probability of
such a score or a higher one under any share of photos on which models that far apart may differ (the exact
unconditional test; Sidik 2003, doi:10.1002/sim.1404). The score alone rejects in up to 5.8% where 5% are promised.

The test takes photos as independent. Photos of one bin are not, so all numbers are divided by the design effect: how
much more the difference varies by bins than by photos (Rao & Scott 1992, doi:10.2307/2532311).
"""

from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from bintally.registry.gates.sign_flip import by_bin

_SHARES: Final = 60
"""Shares of photos on which both differ that are tried; between 1 in 10,000 and all."""

_FEW: Final = 10
"""With fewer bins on which models differ, the design effect is not measured but taken as the largest it can be."""

_HALVINGS: Final = 20  # of up to a million photos


class Discordant(NamedTuple):
    """Photos that only one of two models gets right, of how many; fewer than there are where bins hold several."""

    only_this: int
    only_other: int
    photos: int


def discordant(gains_n: NDArray[np.float64], groups_n: NDArray[Any]) -> Discordant:
    """What photos say of two models, `gains_n` 1 where only the first is right, -1 where only the other is, else 0.

    Rounded against the first model.
    """
    effect = design_effect(gains_n, groups_n)
    only_this, only_other = int((gains_n > 0).sum()), int((gains_n < 0).sum())
    photos = int(len(gains_n) / effect)
    lost = min(int(np.ceil(only_other / effect)), photos)
    return Discordant(min(int(only_this / effect), photos - lost), lost, photos)


def design_effect(gains_n: NDArray[np.float64], groups_n: NDArray[Any]) -> float:
    """How much more the mean of gains varies when whole bins are drawn than when photos are; at least 1."""
    sizes_g = by_bin(np.ones(len(gains_n)), groups_n)
    apart_n = gains_n - gains_n.mean()
    apart_g = by_bin(apart_n, groups_n)
    most = float((sizes_g**2).sum() / sizes_g.sum())
    if np.count_nonzero(by_bin(np.abs(gains_n), groups_n)) < _FEW:
        return most
    return float(np.clip((apart_g**2).sum() / (apart_n**2).sum(), 1.0, most))


@lru_cache(maxsize=1024)
def non_inferiority(seen: Discordant, margin: float) -> float:
    """The p-value of "this model is right less often than the other by `margin` (a share of photos) or more"."""
    if not seen.photos:
        return 1.0
    return level_of(float(score(seen.only_this, seen.only_other, seen.photos, margin)), seen.photos, margin)


def level_of(at_least: float, photos: int, margin: float) -> float:
    """The largest probability of a score of `at_least` or more, for models that are `margin` apart."""
    most_b = _most_lost(at_least, photos, margin)
    gained_b = np.arange(photos + 1)
    shares = np.concatenate([[0.0], np.geomspace(1e-4, 1, _SHARES) * (1 - margin) / 2])
    probabilities = [
        float(binom.pmf(gained_b, photos, p) @ binom.cdf(most_b, photos - gained_b, min((p + margin) / (1 - p), 1.0)))
        for p in shares
    ]
    return min(max(probabilities), 1.0)


def score(only_this: Any, only_other: Any, photos: int, margin: float) -> NDArray[np.float64]:
    """Tango's statistic: how far the difference seen lies above `-margin`, in its standard deviations there."""
    gained, lost = np.asarray(only_this, np.float64), np.asarray(only_other, np.float64)
    linear = (gained + lost) * (1 - margin) - 2 * margin * (photos - lost)
    root = np.sqrt(np.maximum(linear**2 + 8 * photos * gained * margin * (1 - margin), 0.0))
    share = np.clip((linear + root) / (4 * photos), 0.0, (1 - margin) / 2)  # P(only this is right), most likely
    deviation = np.sqrt(photos * (2 * share + margin - margin**2))
    return np.asarray((gained - lost + photos * margin) / deviation)


def _most_lost(at_least: float, photos: int, margin: float) -> NDArray[np.int64]:
    """For each number of photos gained, [photos + 1], the most that may be lost for such a score; -1: none."""
    gained_b = np.arange(photos + 1)
    low_b, high_b = np.full(photos + 1, -1), photos - gained_b
    for _ in range(_HALVINGS):  # the score falls with each photo lost
        middle_b = (low_b + high_b + 1) // 2
        reached_b = score(gained_b, middle_b, photos, margin) >= at_least - 1e-9
        low_b, high_b = np.where(reached_b, middle_b, low_b), np.where(reached_b, high_b, middle_b - 1)
        high_b = np.maximum(low_b, high_b)
    return low_b
