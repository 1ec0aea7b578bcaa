"""How much speaks for a record, beside what else the bin may hold.

A record r is right, or wrong by an error of the mix w (`ErrorMix`), so that the bin holds another count c. Two scores,
in nats, both log P(what is known | right) - log P(what is known | wrong):

- of a record that was made independently of the bin's history: log p(r) - log sum_{c != r} w(r | c) p(c), where p is
  all that is known of the bin: its history and its photos. With a share e of wrong records, P(right) is by Bayes' rule
  sigmoid(score + logit(1 - e)), and what is known without the photos is the same of their prior.
- of a record that follows from the history itself (a confirmed count plus transactions): p has the record in it, so
  only the photos may speak. L(c) = p(c) / prior(c) is their likelihood; the score is
  log L(r) - log sum_{c != r} q(c) L(c), with q(c) in proportion to w(r | c).

With a tolerance, "right" are all counts within it: sums of p, or the mean of L, over them.

Shapes: N cases, K count keys, C counts behind the keys, R recorded counts 0..C-1. An open top such as "6+" stands for
many counts, each `TAIL` times as probable as the one below, and a share of `SPREAD` evenly over all, since a site may
keep bins of many; what lies within it can't be told apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bintally.inventory.policy.settings import ErrorMix

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TAIL: Final = 0.7
SPREAD: Final = 0.1
ANYTHING: Final = 20
"""Records that say anything say 0..19, each equally often."""

_REACH: Final = 40  # counts behind an open top; what is above stands with the last
_TINY: Final = 1e-12
_FLOOR: Final = 1e-9  # of a probability that is divided by


@dataclass(frozen=True)
class Weights:
    """What each key says for and against each record, [K, R], at one tolerance."""

    for_kr: Floats
    against_kr: Floats
    photo_for_kr: Floats
    photo_against_kr: Floats
    apart_r: NDArray[np.bool_]  # the record and its tolerance lie below an open top


def top_of(keys: Sequence[str]) -> int | None:
    """Where an open top begins; None: there is none."""
    return int(keys[-1][:-1]) if keys[-1].endswith("+") else None


def values_of(keys: Sequence[str]) -> Ints:
    """The keys as numbers; an open top as its first count."""
    return np.array([int(key.removesuffix("+")) for key in keys], np.int64)


@lru_cache(maxsize=64)
def weights(keys: tuple[str, ...], errors: ErrorMix, tolerance: int) -> Weights:
    """The tables for counts named by `keys`."""
    values, top = values_of(keys), top_of(keys)
    last = int(values[-1]) + (0 if top is None else _REACH)
    counts_c = np.concatenate([values[:-1], np.arange(values[-1], last + 1)])
    key_c = np.minimum(np.arange(len(counts_c)), len(keys) - 1)
    share_c = np.ones(len(counts_c))
    if top is not None:
        falling = TAIL ** np.arange(_REACH + 1)
        share_c[len(keys) - 1 :] = (1 - SPREAD) * falling / falling.sum() + SPREAD / (_REACH + 1)
    records_r = np.arange(last + 1)
    right_cr = np.abs(counts_c[:, None] - records_r) <= tolerance
    wrong_cr = error_shares(counts_c, errors, tolerance, last + 1)
    key_kc = np.eye(len(keys))[:, key_c]
    total_r = wrong_cr.sum(axis=0)
    return Weights(
        for_kr=(key_kc * share_c) @ right_cr,
        against_kr=(key_kc * share_c) @ wrong_cr,
        photo_for_kr=key_kc @ (right_cr / np.maximum(right_cr.sum(axis=0), 1)),
        photo_against_kr=key_kc @ (wrong_cr / np.where(total_r > 0, total_r, 1.0)),
        apart_r=np.ones(last + 1, np.bool_) if top is None else records_r + tolerance < top,
    )


def error_shares(counts_c: NDArray[Any], errors: ErrorMix, tolerance: int, records: int) -> Floats:
    """w(r | c), [C, R]: how often a wrong record of c says each of 0..records-1; nothing within the tolerance.

    A record beyond the range of "anything" is as likely as one within, so that it too can only be an error.
    """
    records_r = np.arange(max(records, ANYTHING, int(counts_c.max(initial=0)) + 3))
    away_cr = np.abs(np.asarray(counts_c)[:, None] - records_r)
    near_cr = np.where(away_cr == 1, errors.one / 2, 0.0) + np.where(away_cr == 2, errors.two / 2, 0.0)
    near_cr = np.where(away_cr > tolerance, near_cr, 0.0)
    far_cr = np.where(away_cr > tolerance, errors.anything / (ANYTHING - 1), 0.0)
    total_c1 = near_cr.sum(axis=1, keepdims=True) + far_cr[:, :ANYTHING].sum(axis=1, keepdims=True)
    scaled: Floats = ((near_cr + far_cr) / total_c1)[:, :records]
    return scaled


def score_of(shares_nk: Floats, recorded_n: Ints, table: Weights) -> Floats:
    """[N] of records made independently of the history; `shares_nk` is all that is known of the bins."""
    shares_nk = shares_nk / np.maximum(shares_nk.sum(axis=1, keepdims=True), _TINY)
    return _log_ratio(shares_nk, recorded_n, table.for_kr, table.against_kr)


def photo_score_of(shares_nk: Floats, prior_nk: Floats, recorded_n: Ints, table: Weights) -> Floats:
    """[N] of records that follow from the history: only what the photos add to it speaks."""
    likelihood_nk = (shares_nk + _FLOOR) / (prior_nk + _FLOOR)
    likelihood_nk /= np.maximum(likelihood_nk.max(axis=1, keepdims=True), _TINY)
    return _log_ratio(likelihood_nk, recorded_n, table.photo_for_kr, table.photo_against_kr)


def right_share(shares_nk: Floats, recorded_n: Ints, table: Weights) -> Floats:
    """[N] probability of the counts within the tolerance."""
    total_n = np.maximum(shares_nk.sum(axis=1), _TINY)
    share_n: Floats = np.clip(_summed(shares_nk, recorded_n, table.for_kr) / total_n, 0.0, 1.0)
    return share_n


def told_apart(keys: Sequence[str], recorded_n: Ints, table: Weights) -> NDArray[np.bool_]:
    """[N] whether a record is one that photos can tell from others: a count the keys know, below an open top."""
    apart_n: NDArray[np.bool_] = table.apart_r[np.clip(recorded_n, 0, len(table.apart_r) - 1)]
    return apart_n & ~beyond(keys, recorded_n)


def beyond(keys: Sequence[str], recorded_n: Ints) -> NDArray[np.bool_]:
    """[N] records below 0, or above the highest count the keys know."""
    highest = np.inf if top_of(keys) is not None else values_of(keys)[-1]
    return np.asarray((recorded_n < 0) | (recorded_n > highest))


def _log_ratio(shares_nk: Floats, recorded_n: Ints, for_kr: Floats, against_kr: Floats) -> Floats:
    speaks_for = _summed(shares_nk, recorded_n, for_kr)
    speaks_against = _summed(shares_nk, recorded_n, against_kr)
    ratio: Floats = np.log(speaks_for + _TINY) - np.log(speaks_against + _TINY)
    return ratio


def _summed(shares_nk: Floats, recorded_n: Ints, table_kr: Floats) -> Floats:
    """sum_k shares(n, k) table(k, recorded(n)); a record above all stands with the last."""
    columns_n = np.clip(recorded_n, 0, table_kr.shape[1] - 1)
    summed: Floats = np.einsum("nk,nk->n", shares_nk, np.ascontiguousarray(table_kr.T)[columns_n])
    return summed
