"""How alike a simulated bin's photos err, beside real bins': whether walks through the bank keep what photos share.

A photo's error is its expected count less its recorded one. Photos of one bin err alike (the same box hides the same
items), so a history of ten photos knows less than ten photos do. What is told: the correlation of the errors of two
photos of a bin, one and two photos apart, of real bins and of walks through the bank with real bins' changes.
"""

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from bintally.bundle import Card
from bintally.simulation.bank import KINDS, PhotoBank

BINS: Final = 500
PHOTOS: Final = 8
_MOST: Final = 8  # items: as many as simulated products reach


class Likeness(msgspec.Struct, frozen=True):
    """Correlations of errors, one and two photos apart; None: too few of them. `pairs`, `triples`: real ones."""

    real_1: float | None
    real_2: float | None
    walked_1: float | None
    walked_2: float | None
    pairs: int
    triples: int


def likeness(bank: PhotoBank, card: Card, *, seed: int = 0) -> Likeness:
    """Measured on all real pairs and triples, and on seeded walks."""
    values_k = np.array([card.count_values[key] for key in card.count_keys])
    top = len(values_k) - 1
    shares_nk = bank.probabilities_nk / bank.probabilities_nk.sum(axis=1, keepdims=True)
    error_n = shares_nk @ values_k - values_k[np.minimum(bank.count_n, top)]
    photos = np.flatnonzero((bank.kind_n == KINDS.index("photo")) & (bank.previous_n >= 0))
    if not len(photos):
        return Likeness(None, None, None, None, 0, 0)
    before = bank.previous_n[photos]
    third = photos[bank.previous_n[before] >= 0]
    first = bank.previous_n[bank.previous_n[third]]
    walked_bp = error_n[_walked(bank, np.random.default_rng(seed))]
    return Likeness(
        real_1=_correlation(error_n[before], error_n[photos]),
        real_2=_correlation(error_n[first], error_n[third]),
        walked_1=_correlation(walked_bp[:, :-1].ravel(), walked_bp[:, 1:].ravel()),
        walked_2=_correlation(walked_bp[:, :-2].ravel(), walked_bp[:, 2:].ravel()),
        pairs=len(photos),
        triples=len(third),
    )


def _walked(bank: PhotoBank, chance: np.random.Generator) -> NDArray[np.intp]:
    """[B, P] photos of bins whose counts change as real ones do."""
    photos = np.flatnonzero((bank.kind_n == KINDS.index("photo")) & (bank.previous_n >= 0))
    changes = (bank.count_n[photos] - bank.count_n[bank.previous_n[photos]]).tolist()
    starts = bank.count_n[photos].tolist()
    walked = np.zeros((BINS, PHOTOS), np.intp)
    for row in range(BINS):
        count = min(int(chance.choice(starts)), _MOST)
        drawn = bank.first(count, chance.random())
        for column in range(PHOTOS):
            walked[row, column] = drawn.photo
            lean = float(bank.error_n[walked[row, : column + 1]].mean())
            now = int(np.clip(count + chance.choice(changes), 0, _MOST))
            drawn, count = bank.next(drawn.photo, count, now, chance.random(), lean=lean), now
    return walked


def _correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float | None:
    if len(one) < 3 or not (one.std() and other.std()):
        return None
    return round(float(np.corrcoef(one, other)[0, 1]), 4)
