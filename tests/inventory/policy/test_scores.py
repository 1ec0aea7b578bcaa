"""Scores are Bayes' rule, and say nothing where photos can't tell counts apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.inventory.policy.scores import (
    ANYTHING,
    error_shares,
    photo_score_of,
    right_share,
    score_of,
    told_apart,
    weights,
)
from bintally.inventory.policy.settings import ErrorMix
from bintally.records import COUNT_KEYS
from tests.inventory.policy.cases import sure_of

EXACT = tuple(str(count) for count in range(31))
MIX = ErrorMix()


def test_score_is_bayes_rule_over_exact_counts() -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(31))
    errors = error_shares(np.arange(31), MIX, 0, 31)
    for record in (0, 1, 7, 30):
        odds = shares[record] / sum(shares[c] * errors[c, record] for c in range(31) if c != record)
        found = score_of(shares[None], np.array([record]), weights(EXACT, MIX, 0))
        assert found[0] == pytest.approx(np.log(odds), abs=1e-6)


@pytest.mark.parametrize("tolerance", [0, 1, 2])
@pytest.mark.parametrize("count", [0, 1, 3, 17])
def test_wrong_records_are_beyond_the_tolerance_and_sum_to_one(count: int, tolerance: int) -> None:
    shares = error_shares(np.array([count]), MIX, tolerance, ANYTHING + 3)[0]
    away = np.abs(np.arange(ANYTHING + 3) - count)
    assert (shares[away <= tolerance] == 0).all()
    assert shares[:ANYTHING].sum() == pytest.approx(1.0)


def test_an_error_beyond_the_usual_range_is_possible_too() -> None:
    score = score_of(sure_of(3)[None], np.array([500]), weights(COUNT_KEYS, MIX, 0))
    assert score[0] < -3


def test_photo_speaks_for_what_it_shows_and_against_the_rest() -> None:
    table = weights(COUNT_KEYS, MIX, 0)
    recorded = np.arange(6)
    found = score_of(np.tile(sure_of(3), (6, 1)), recorded, table)
    assert found.argmax() == 3
    assert found[3] > 2 > 0 > found[2]


def test_counts_in_an_open_top_are_not_told_apart() -> None:
    table = weights(COUNT_KEYS, MIX, 0)
    found = score_of(np.tile(sure_of(9), (3, 1)), np.array([7, 9, 12]), table)
    assert (np.abs(found) < 0.6).all()
    assert told_apart(COUNT_KEYS, np.array([5, 6, 9, -1]), table).tolist() == [True, False, False, False]


def test_records_above_all_exact_counts_are_not_judged() -> None:
    table = weights(EXACT, MIX, 0)
    assert told_apart(EXACT, np.array([30, 31]), table).tolist() == [True, False]


def test_tolerance_lets_neighbours_speak_for_the_record() -> None:
    exact, within = (
        score_of(sure_of(3)[None], np.array([2]), weights(COUNT_KEYS, MIX, tolerance))[0] for tolerance in (0, 1)
    )
    assert exact < 0 < within


def test_photos_that_say_nothing_new_do_not_speak_for_what_follows_from_the_history() -> None:
    history = sure_of(3)[None]
    table = weights(COUNT_KEYS, MIX, 0)
    assert photo_score_of(history, history, np.array([3]), table)[0] == pytest.approx(0.0, abs=1e-6)
    assert score_of(history, np.array([3]), table)[0] > 2
    assert right_share(history, np.array([3]), table)[0] == pytest.approx(0.97)


@given(st.integers(0, 5), st.integers(0, 2**32 - 1), st.floats(1.01, 50.0))
def test_more_probability_of_the_record_never_lowers_its_score(record: int, seed: int, times: float) -> None:
    shares = np.random.default_rng(seed).dirichlet(np.full(7, 0.5))
    more = shares.copy()
    more[record] *= times
    prior = np.full((1, 7), 1 / 7)
    table = weights(COUNT_KEYS, MIX, 0)
    at = np.array([record])
    assert score_of((more / more.sum())[None], at, table) >= score_of(shares[None], at, table) - 1e-9
    photo = [photo_score_of(each[None] / each.sum(), prior, at, table)[0] for each in (more, shares)]
    assert photo[0] >= photo[1] - 1e-6
