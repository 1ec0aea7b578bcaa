"""How many records are wrong, of which only some were looked at.

Records fall into strata whose sizes are known: what was accepted, called wrong, or left uncertain. In each, some were
looked at, with a known chance. What is wrong among the others is predicted from those that were looked at, each
weighted with 1 / chance - 1, the number of unseen ones it stands for (Horvitz & Thompson 1952; the predictive form is
Royall's, 1970). With one chance for all this is their plain share of wrong ones.

Intervals: a bootstrap of "100 checked, none wrong" is always 0, so an unseen share has Jeffreys' posterior instead
(Brown, Cai & DasGupta 2001), at the sample's effective size, as dependent records of one bin and unequal weights say
less than as many independent ones (Korn & Graubard 1998). Unseen records are drawn from it, so that a stratum of which
all is known has no interval.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bintally.inventory.kpi.report import Measured

Floats = NDArray[np.float64]

DRAWS: Final = 4000
LEVEL: Final = 0.95


class Looked(NamedTuple):
    """A stratum: how many records it has, and which of those looked at were wrong."""

    records: int
    wrong_n: NDArray[np.bool_]
    chance_n: Floats  # of each to be looked at, above 0
    bin_n: NDArray[Any]  # records of one bin depend on each other

    @property
    def known(self) -> bool:
        """Whether anything can be said of it."""
        return not self.records or len(self.wrong_n) > 0


class Wrong(NamedTuple):
    """How many records of a stratum are wrong: the estimate, and draws of what it may be."""

    value: float
    drawn_d: Floats


def wrong_records(looked: Looked, rng: np.random.Generator, *, draws: int = DRAWS) -> Wrong:
    """How many of `looked.records` are wrong. They must be known to some extent."""
    found, unseen = int(looked.wrong_n.sum()), max(looked.records - len(looked.wrong_n), 0)
    if not unseen:
        return Wrong(float(found), np.full(draws, float(found)))
    share, size = _unseen_share(looked)
    share_d = rng.beta(size * share + 0.5, size * (1.0 - share) + 0.5, draws)
    return Wrong(found + unseen * share, found + rng.binomial(unseen, share_d).astype(np.float64))


def measured(value: float, drawn_d: Floats, *, of: int, seen: int) -> Measured:
    """A figure with the middle 95% of its draws; draws that are no number (0 / 0) say nothing."""
    drawn_d = drawn_d[np.isfinite(drawn_d)]
    low, high = np.quantile(drawn_d, [(1.0 - LEVEL) / 2, (1.0 + LEVEL) / 2]) if len(drawn_d) else (value, value)
    return Measured(value=value, low=min(float(low), value), high=max(float(high), value), of=of, seen=seen)


def _unseen_share(looked: Looked) -> tuple[float, float]:
    """The share of wrong ones among the unseen, and how many independent looks it rests on."""
    wrong_n = looked.wrong_n.astype(np.float64)
    stands_n = 1.0 / looked.chance_n - 1.0
    if not stands_n.any():  # all were sure to be looked at; some still wait, like the others
        stands_n = np.ones(len(wrong_n))
    total = stands_n.sum()
    share = float((stands_n * wrong_n).sum() / total)
    kish = float(total**2 / (stands_n**2).sum())
    _, bin_n = np.unique(looked.bin_n, return_inverse=True)
    bins = int(bin_n.max()) + 1
    off_b = np.bincount(bin_n, stands_n * (wrong_n - share))
    variance = float((off_b**2).sum() / total**2 * bins / max(bins - 1, 1))
    if 0.0 < share < 1.0 and bins > 1 and variance > 0.0:
        return share, min(kish, share * (1.0 - share) / variance)
    return share, min(kish, float(bins))
