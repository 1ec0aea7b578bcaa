"""Count sets: the smallest that reach the threshold, and a threshold that keeps its promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from bintally.counting.sets import count_sets, fit_set_threshold
from bintally.records import COUNT_KEYS

distributions = arrays(np.float64, st.tuples(st.integers(1, 6), st.just(7)), elements=st.floats(1e-6, 1)).map(
    lambda raw_nk: raw_nk / raw_nk.sum(axis=1, keepdims=True)
)


def test_takes_the_most_probable_counts_until_the_threshold_is_reached() -> None:
    probabilities_nk = np.array([[0.05, 0.5, 0.3, 0.1, 0.03, 0.01, 0.01]])
    assert count_sets(probabilities_nk, COUNT_KEYS, 0.4) == [("1",)]
    assert count_sets(probabilities_nk, COUNT_KEYS, 0.75) == [("1", "2")]
    assert count_sets(probabilities_nk, COUNT_KEYS, 0.85) == [("1", "2", "3")]


def test_equal_counts_are_taken_from_the_smallest_up() -> None:
    assert count_sets(np.full((1, 7), 1 / 7), COUNT_KEYS, 0.4) == [("0", "1", "2")]


def test_a_set_is_never_empty() -> None:
    assert count_sets(np.full((2, 7), 1 / 7), COUNT_KEYS, 0.0) == [("0",), ("0",)]
    assert count_sets(np.empty((0, 7)), COUNT_KEYS, 0.9) == []


@given(distributions, st.floats(0.01, 0.99))
def test_a_set_reaches_the_threshold_and_no_smaller_one_would(
    probabilities_nk: NDArray[np.float64], threshold: float
) -> None:
    for row, chosen in zip(probabilities_nk, count_sets(probabilities_nk, COUNT_KEYS, threshold), strict=True):
        shares = [row[COUNT_KEYS.index(key)] for key in chosen]
        assert sum(shares) >= threshold - 1e-9
        assert sum(shares[:-1]) < threshold + 1e-9
        assert shares == sorted(shares, reverse=True)
        assert len(set(chosen)) == len(chosen)


@given(distributions, st.floats(0.05, 0.95), st.randoms(use_true_random=False))
def test_the_fitted_threshold_covers_the_photos_it_was_fitted_on(
    probabilities_nk: NDArray[np.float64], coverage: float, random: object
) -> None:
    labels_n = np.random.default_rng(len(probabilities_nk)).integers(0, 7, len(probabilities_nk))
    threshold = fit_set_threshold(probabilities_nk, labels_n, coverage)
    sets = count_sets(probabilities_nk, COUNT_KEYS, threshold)
    covered = sum(COUNT_KEYS[label] in chosen for label, chosen in zip(labels_n, sets, strict=True))
    assert covered >= coverage * len(sets) - 1e-9


@pytest.mark.parametrize("coverage", [0.8, 0.9])
@settings(deadline=None)
@given(seed=st.integers(0, 20))
def test_coverage_holds_on_photos_never_seen_even_from_an_overconfident_model(coverage: float, seed: int) -> None:
    rng = np.random.default_rng(seed)

    def draw(photos: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        labels_n = rng.integers(0, 7, photos)
        logits_nk = rng.normal(size=(photos, 7)) + 1.0 * np.eye(7)[labels_n]
        wild_nk = np.exp(3 * logits_nk)  # three times too sure of itself
        return wild_nk / wild_nk.sum(axis=1, keepdims=True), labels_n

    threshold = fit_set_threshold(*draw(4000), coverage)
    probabilities_nk, labels_n = draw(4000)
    sets = count_sets(probabilities_nk, COUNT_KEYS, threshold)
    covered = np.mean([COUNT_KEYS[label] in chosen for label, chosen in zip(labels_n, sets, strict=True)])
    # Four standard deviations of two samples of 4,000.
    assert abs(covered - coverage) < 4 * np.sqrt(2 * coverage * (1 - coverage) / 4000)


def test_too_few_photos_for_a_promise_take_every_count() -> None:
    probabilities_nk = np.full((3, 7), 1 / 7)
    threshold = fit_set_threshold(probabilities_nk, np.array([0, 1, 2]), 0.9)
    assert count_sets(probabilities_nk, COUNT_KEYS, threshold) == [COUNT_KEYS] * 3
