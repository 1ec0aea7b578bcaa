"""What two photos of a bin and its earlier count say of the new count.

The network compares the photos and knows nothing of counts: its `evidence` is the log likelihood of each change. What
one would say without any photo, P(change | earlier count), stands in the card; so that the two can be told apart, be
compared, and be given to the filter (`counting.following`) as a ratio.

Shapes: P pairs; D the largest change told apart; evidence_pd float [P, 2D+1]; K the count keys a model knows; raw_pk
float [P, K], of the later photo alone.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bintally.bundle import Card, ChangeCard
from bintally.counting.network import change_card
from bintally.records import key_of

Floats = NDArray[np.float64]

_TINY: Final = 1e-12

_EXCHANGED: Final = 0.002
"""Share of bins whose contents were exchanged in between: then the later photo is all there is to go by, and no count
is too far from the earlier one."""


def told_by_pairs(
    card: Card,
    raw_pk: NDArray[np.floating],
    earlier_pk: NDArray[np.floating],
    evidence_pd: NDArray[np.floating],
    before_counts: Sequence[int | None],
) -> tuple[NDArray[np.float32], Floats]:
    """Probabilities [P, K] of the new counts, and [P] that the count is still the same.

    `earlier_pk` is of the earlier photos alone: where its count is not known (None), over all that it may show.
    """
    change, keys = change_card(card), card.count_keys
    told_pk, unchanged_p = np.zeros(raw_pk.shape), np.zeros(len(raw_pk))
    ratios_pk = raw_pk / np.array([card.target_prior[key] for key in keys])
    values = [round(card.count_values[key]) for key in keys]
    for pair, count in enumerate(before_counts):
        ratios = dict(zip(keys, ratios_pk[pair].tolist(), strict=True))
        shares_k = (earlier_pk[pair] / earlier_pk[pair].sum()).tolist()
        guesses = {count: 1.0} if count is not None else dict(zip(values, shares_k, strict=True))
        for guess, share in guesses.items():
            shares_d = change_shares(change, evidence_pd[pair], guess, ratios)
            told_pk[pair] += share * new_counts(change, shares_d, guess, keys)
            unchanged_p[pair] += share * shares_d[change.max_change]
        told_pk[pair] = (1 - _EXCHANGED) * told_pk[pair] + _EXCHANGED * raw_pk[pair] / raw_pk[pair].sum()
    return told_pk.astype(np.float32), unchanged_p


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


def change_tables(
    card: Card, evidence_d: NDArray[np.floating], raw_k: NDArray[np.floating], max_count: int
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """A pair as the filter takes it: P(new | earlier, both photos) and P(new | earlier), of each earlier count."""
    change = change_card(card)
    ratios = {key: float(share) / card.target_prior[key] for key, share in zip(card.count_keys, raw_k, strict=True)}
    told: dict[str, dict[str, float]] = {}
    prior: dict[str, dict[str, float]] = {}
    for earlier in range(max_count + 1):
        rows = [
            moved_counts(shares_d, earlier, max_count)
            for shares_d in (change_shares(change, evidence_d, earlier, ratios), prior_of(change, earlier))
        ]
        possible = {key for key, share in rows[1].items() if share > 0}
        if len(possible) > 1:
            told[str(earlier)], prior[str(earlier)] = (
                {key: share for key, share in row.items() if key in possible} for row in rows
            )
    return told, prior


def moved_counts(shares_d: Floats, earlier: int, max_count: int) -> dict[str, float]:
    """Probabilities of the new counts, those above `max_count` with it."""
    reach = len(shares_d) // 2
    moved: dict[str, float] = {}
    for count, share in enumerate(shares_d.tolist(), earlier - reach):
        if count >= 0:
            key = str(min(count, max_count))
            moved[key] = moved.get(key, 0.0) + share
    return moved
