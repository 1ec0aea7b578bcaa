"""What each event says about counts, as small matrices.

Shapes: C counts 0..max_count, the last of them "that many or more"; D = 2 max_count + 1 moves -max_count..max_count.
    likelihood_c   float [C], or [C earlier, C now] for a pair of photos: P(what was seen | counts) up to one factor
    kernel_cc      float [C before, C after]
"""

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bintally.counting.events import Counted, Photo, Shares
from bintally.counting.follow_settings import FollowSettings, TransactionErrors
from bintally.errors import DataError
from bintally.records import COUNT_KEYS

Floats: TypeAlias = NDArray[np.float64]


def start_c(shares: Mapping[str, float], settings: FollowSettings) -> Floats:
    """A mix of count keys as probabilities of counts [C]; an open top falls off by `tail` from its first count on.

    No count is left without any probability (`unlike_start`): nothing seen later could bring it back.
    """
    size = settings.max_count + 1
    known = shares or {key: 1.0 for key in COUNT_KEYS if int(key.rstrip("+")) < size}
    start = np.zeros(size)
    for key, share in known.items():
        counts = counts_of(key, settings.max_count)
        weights = settings.tail ** np.arange(counts.stop - counts.start)
        start[counts] += share * weights / weights.sum()
    return np.asarray((1.0 - settings.unlike_start) * start / start.sum() + settings.unlike_start / size)


def counts_of(key: str, max_count: int) -> slice:
    """The counts a key stands for: "4" -> 4, "6+" -> 6..max_count.

    Raises:
        DataError: it is above max_count.
    """
    first = int(key.rstrip("+"))
    check_count(first, max_count)
    return slice(first, max_count + 1 if key.endswith("+") else first + 1)


def check_count(count: int, max_count: int) -> None:
    """Raises DataError where `count` items are more than the settings reckon with."""
    if count > max_count:
        raise DataError(f"{count} items are more than max_count, {max_count}.", hint="Raise 'max_count'.")


def photo_likelihood(photo: Photo, settings: FollowSettings) -> Floats:
    """P(photo | count) over P(photo), [C]: what the photo says by itself.

    It is probability over prior. All counts of an open top get the same: a photo that says "6+" can't tell 6 from 9.
    A count the photo was not asked about gets 1, which is neither for nor against it.
    """
    return _mislead(_own(photo, settings), settings)


def change_likelihood(photo: Photo, settings: FollowSettings) -> Floats:
    """P(photo | earlier photo, earlier count, count) over P(photo), [C earlier, C now].

    By Bayes' rule it is change / change_prior * P(photo | earlier photo, earlier count). The last factor, how well the
    photo fits an earlier count whatever happened since, is no part of a model that is told the earlier count; it is
    taken from the photo's own probabilities, averaged over change_prior (exact if the earlier photo has no more to say
    about this one than its count has), to the power `second_look`. So a pair that knows no more than the two photos
    each alone counts exactly as these two, and nothing counts twice.
    """
    own = _own(photo, settings)
    mean_of = cache(lambda key: float(own[counts_of(key, settings.max_count)].mean()))  # rows share most of their keys
    likelihood = np.tile(own, (len(own), 1))
    for earlier, row in photo.change.items():
        ratios, table = _ratios(row, photo.change_prior[earlier])
        fit = sum(share * mean_of(key) for key, share in table.items()) ** settings.second_look
        rows = likelihood[counts_of(earlier, settings.max_count)]
        for key, ratio in ratios.items():
            rows[:, counts_of(key, settings.max_count)] = ratio * fit
    return _mislead(likelihood, settings)


def counted_likelihood(event: Counted, settings: FollowSettings) -> Floats:
    """P(a person says this count | count), [C]."""
    check_count(event.count, settings.max_count)
    likelihood = settings.count_error * jumps(settings.max_count, settings.drift_size)[:, event.count]
    likelihood[event.count] = 1.0 - settings.count_error
    return likelihood


@lru_cache(maxsize=64)
def jumps(max_count: int, size: float) -> Floats:
    """Where a bin of each count stands after an unrecorded move of 1, 2 .. items up or down, [C, C]; rows sum to 1."""
    counts = np.arange(max_count + 1)
    distance = np.abs(counts[:, None] - counts[None, :])
    weights = np.where(distance > 0, size ** np.maximum(distance - 1.0, 0.0), 0.0)
    return _read_only(weights / weights.sum(axis=1, keepdims=True))


@lru_cache(maxsize=1024)
def moves(quantity: int, errors: TransactionErrors, max_count: int) -> Floats:
    """P(so many items really moved | recorded quantity), for each count before: [C, D].

    Rows of small counts sum to less than 1 where items are said to go out: what a bin does not hold can't be taken
    from it, so that a pick of 3 speaks for at least 3.
    """
    check_count(abs(quantity), max_count)
    before, move = np.arange(max_count + 1)[:, None], np.arange(-max_count, max_count + 1)[None, :]
    shares = np.zeros(2 * max_count + 1)
    for moved, share in (
        (quantity, errors.as_recorded),
        (0, errors.nothing),
        (quantity - 1, errors.one_off / 2),
        (quantity + 1, errors.one_off / 2),
        (2 * quantity, errors.twice),
    ):
        if moved >= -max_count:
            shares[min(moved, max_count) + max_count] += share
    anything = np.where(before + move <= max_count, errors.anything / (max_count + 1), 0.0)
    return _read_only(np.where(before + move >= 0, shares[None, :] + anything, 0.0))


@lru_cache(maxsize=64)
def destinations(max_count: int) -> NDArray[np.intp]:
    """The count after each move from each count, [C, D]; above max_count it stays there."""
    before, move = np.arange(max_count + 1)[:, None], np.arange(-max_count, max_count + 1)[None, :]
    after: NDArray[np.intp] = np.clip(before + move, 0, max_count).astype(np.intp)
    after.flags.writeable = False
    return after


@lru_cache(maxsize=1024)
def transaction_kernel(quantity: int, errors: TransactionErrors, max_count: int) -> Floats:
    """P(count after | count before, recorded quantity), [C, C]; rows may sum to less than 1, see `moves`."""
    kernel = np.zeros((max_count + 1, max_count + 1))
    before = np.broadcast_to(np.arange(max_count + 1)[:, None], (max_count + 1, 2 * max_count + 1))
    np.add.at(kernel, (before, destinations(max_count)), moves(quantity, errors, max_count))
    return _read_only(kernel)


def _own(photo: Photo, settings: FollowSettings) -> Floats:
    own = np.ones(settings.max_count + 1)
    if photo.probabilities:
        ratios, _ = _ratios(photo.probabilities, photo.prior or dict.fromkeys(photo.probabilities, 1.0))
        for key, ratio in ratios.items():
            own[counts_of(key, settings.max_count)] = ratio
    return own


def _ratios(shares: Mapping[str, float], prior: Mapping[str, float]) -> tuple[Shares, Shares]:
    """Share over prior for each key of `prior`, and that prior, each scaled to sum to 1.

    A key that the prior rules out was not asked about: 1.
    """
    total, total_prior = sum(shares.values()), sum(prior.values())
    table = {key: share / total_prior for key, share in prior.items()}
    return {key: shares.get(key, 0.0) / total / share if share else 1.0 for key, share in table.items()}, table


def _mislead(likelihood: Floats, settings: FollowSettings) -> Floats:
    """With the share of photos that tell nothing mixed in: theirs is 1 for every count."""
    return (1.0 - settings.misleading) * likelihood + settings.misleading


def _read_only(matrix: Floats) -> Floats:
    matrix.flags.writeable = False
    return matrix
