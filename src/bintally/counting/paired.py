"""Two models on the same photos: which differences are more than chance.

McNemar's test asks whether, among the photos that one model gets right and the other wrong, the two share alike
(McNemar 1947, doi:10.1007/BF02295996). It is exact here: a binomial test on those photos. The mid-p version is less
timid and keeps its level nearly always (Fagerland, Lydersen & Laake 2013, doi:10.1186/1471-2288-13-91).
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray


def mcnemar(only_first: int, only_second: int) -> tuple[float, float]:
    """Exact and mid p-value, two-sided, of photos that only one of two models gets right.

    Both are 1 where the two share alike, no photos included. Takes photos as independent.
    """
    photos, fewer = only_first + only_second, min(only_first, only_second)
    if only_first == only_second:
        return 1.0, 1.0
    log_all = photos * math.log(2)
    # From the largest term down, so that nothing underflows that matters.
    terms = [math.exp(_log_choose(photos, fewer - k) - log_all) for k in range(fewer + 1)]
    below = math.fsum(terms)
    return min(1.0, 2 * below), min(1.0, 2 * below - terms[0])


def _log_choose(photos: int, chosen: int) -> float:
    return math.lgamma(photos + 1) - math.lgamma(chosen + 1) - math.lgamma(photos - chosen + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for being several, in the order given (Holm 1979): the smallest counts as many times."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def photos_to_see(difference: float, discordant: float, *, level: float = 0.05, power: float = 0.8) -> int:
    """Photos that McNemar's test needs to see a `difference` in accuracy with probability `power`.

    `discordant` is the share of photos that one model gets right and the other wrong; it can't be below the difference.
    Connor 1987 (doi:10.2307/2531961); photos taken as independent.
    """
    share, z = max(discordant, difference), NormalDist().inv_cdf
    needed = z(1 - level / 2) * math.sqrt(share) + z(power) * math.sqrt(max(share - difference**2, 0.0))
    return math.ceil((needed / difference) ** 2)


def distance(first_nk: NDArray[np.float64], second_nk: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far two answers lie apart, [N]: total variation, 0 (alike) to 1 (nothing in common)."""
    apart: NDArray[np.float64] = 0.5 * np.abs(first_nk - second_nk).sum(axis=1)
    return apart
