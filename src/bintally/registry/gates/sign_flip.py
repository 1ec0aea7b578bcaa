"""Is one model better than another on the same photos? A randomisation test that flips signs by bin.

If two models are equally good, whose answer is whose says nothing: swapping both models' answers on all photos of a bin
leaves a difference that was as likely (Fisher 1935; Good 2005, "Permutation, Parametric and Bootstrap Tests"). So the
p-value is the share of swaps whose difference is at least the one seen. Where swaps are drawn, the one seen counts
among them, so that the level holds exactly for any number of draws (Phipson & Smyth 2010, doi:10.2202/1544-6115.1585).
A percentile bootstrap, beside it, is right only for many bins and models that often differ.

Shapes: N photos, G bins, S pairs of models.
"""

from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FLIPS: Final = 9999
EXACT: Final = 12
"""Up to so many bins with a difference, all swaps are tried: 4,096."""

_DRAWN_AT_ONCE: Final = 2_000_000  # 16 MB of signs
_ROUNDING: Final = 1e-9  # of the sum of all differences: equal sums, added in another order, stay equal


def by_bin(terms_n: NDArray[Any], groups_n: NDArray[Any]) -> NDArray[np.float64]:
    """Each bin's sum of its photos' terms, [G], in the order of the bins' names."""
    _, group_n = np.unique(groups_n, return_inverse=True)
    return np.bincount(group_n, np.asarray(terms_n, np.float64)).astype(np.float64)


def sign_flip(gains_g: NDArray[np.float64], *, flips: int = FLIPS, seed: int = 0) -> float:
    """The one-sided p-value of gains by bin, [G]: small where their sum is too large for chance.

    1 where nothing differs, or a gain is no number.
    """
    return float(sign_flips(gains_g[None], flips=flips, seed=seed)[0])


def sign_flips(gains_sg: NDArray[np.float64], *, flips: int = FLIPS, seed: int = 0) -> NDArray[np.float64]:
    """`sign_flip` of S pairs of models at once, [S]; all are tested by the same drawn swaps."""
    differing_s = np.count_nonzero(gains_sg, axis=1)
    p_s = np.ones(len(gains_sg))
    many = np.flatnonzero((differing_s > EXACT) & np.isfinite(gains_sg).all(axis=1))
    if len(many):
        p_s[many] = _drawn(gains_sg[many], flips, seed)
    for s in np.flatnonzero((differing_s > 0) & (differing_s <= EXACT)):
        gains_g = gains_sg[s][gains_sg[s] != 0]
        p_s[s] = _exact(gains_g) if np.isfinite(gains_g).all() else 1.0
    return p_s


def _exact(gains_g: NDArray[np.float64]) -> float:
    signs_fg = np.array(list(product((1.0, -1.0), repeat=len(gains_g))))
    return float((signs_fg @ gains_g >= _seen(gains_g[None])).mean())


def _drawn(gains_sg: NDArray[np.float64], flips: int, seed: int) -> NDArray[np.float64]:
    rng, seen_s = np.random.default_rng(seed), _seen(gains_sg)
    at_least_s = np.ones(len(gains_sg))
    step = max(1, _DRAWN_AT_ONCE // gains_sg.shape[1])
    for first in range(0, flips, step):
        signs_fg = 1.0 - 2.0 * rng.integers(2, size=(min(step, flips - first), gains_sg.shape[1]), dtype=np.int8)
        at_least_s += (gains_sg @ signs_fg.T >= seen_s[:, None]).sum(axis=1)
    shares_s: NDArray[np.float64] = at_least_s / (flips + 1)
    return shares_s


def _seen(gains_sg: NDArray[np.float64]) -> NDArray[np.float64]:
    sums_s: NDArray[np.float64] = gains_sg.sum(axis=1) - _ROUNDING * np.abs(gains_sg).sum(axis=1)
    return sums_s
