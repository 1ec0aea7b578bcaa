"""Intervals hold what they promise, know that photos of one bin depend on each other, and repeat."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.counting.intervals import bootstrap, bootstrap_mean, share


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=50), st.integers(0, 1000))
def test_value_is_the_mean_and_the_interval_stays_within_what_was_seen(terms: list[float], seed: int) -> None:
    figure = bootstrap_mean(np.array(terms), resamples=100, seed=seed)
    assert figure.value == pytest.approx(np.mean(terms))
    assert min(terms) - 1e-9 <= figure.low <= figure.high <= max(terms) + 1e-9
    assert figure == bootstrap_mean(np.array(terms), resamples=100, seed=seed)


def test_interval_of_a_share_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    figures = [bootstrap_mean(rng.random(300) < 0.4, resamples=400, seed=trial) for trial in range(300)]
    held = sum(figure.low <= 0.4 <= figure.high for figure in figures)
    assert 270 <= held <= 297  # 285 expected, standard deviation 3.8


def test_vectorised_means_equal_the_loop_over_indices() -> None:
    """Both forms draw the same groups for the same seed, so their intervals are the same numbers."""
    rng = np.random.default_rng(1)
    terms, groups = rng.normal(size=120), rng.integers(40, size=120)
    fast = bootstrap_mean(terms, groups_n=groups, resamples=200, seed=3)
    slow = bootstrap(lambda chosen: float(terms[chosen].mean()), 120, groups_n=groups, resamples=200, seed=3)
    assert (fast.value, fast.low, fast.high) == pytest.approx((slow.value, slow.low, slow.high))


def test_finish_is_applied_to_every_resample() -> None:
    squares = np.random.default_rng(2).normal(size=200) ** 2
    plain, root = bootstrap_mean(squares, seed=1), bootstrap_mean(squares, seed=1, finish=np.sqrt)
    assert root.value == pytest.approx(math.sqrt(plain.value))
    assert root.low == pytest.approx(math.sqrt(plain.low), rel=1e-3)
    assert root.high == pytest.approx(math.sqrt(plain.high), rel=1e-3)


def test_photos_repeated_within_a_bin_do_not_make_the_figure_surer() -> None:
    """Once intervals shrank with each copy of a photo: 4 photos of each of 100 bins looked like 400 bins."""
    bins = np.random.default_rng(3).random(100) < 0.5
    photos, groups = np.repeat(bins, 4), np.repeat(np.arange(100), 4)
    alone = bootstrap_mean(bins, seed=5)
    grouped = bootstrap_mean(photos, groups_n=groups, seed=5)
    ignorant = bootstrap_mean(photos, seed=5)
    assert grouped.high - grouped.low == pytest.approx(alone.high - alone.low)
    assert ignorant.high - ignorant.low < 0.6 * (grouped.high - grouped.low)


def test_groups_may_be_names_in_any_order() -> None:
    terms = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    named = bootstrap_mean(terms, groups_n=np.array(["b", "a", "b", "c", "a"]), seed=1)
    numbered = bootstrap_mean(terms, groups_n=np.array([1, 0, 1, 2, 0]), seed=1)
    assert named == numbered


def test_without_photos_there_is_no_figure() -> None:
    for figure in (bootstrap_mean(np.array([])), bootstrap(lambda _: 0.0, 0), share(0, 0)):
        assert math.isnan(figure.value)
        assert math.isnan(figure.low)


def test_a_large_set_is_resampled_in_pieces() -> None:
    """A million photos: 2,000 rows of counts at once would take 16 GB."""
    terms = np.zeros(1_000_000)
    terms[::2] = 1
    figure = bootstrap_mean(terms, resamples=20)
    assert figure.value == 0.5
    assert 0.497 < figure.low < 0.5 < figure.high < 0.503


@pytest.mark.parametrize(
    ("right", "photos", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_interval_equals_published_values(right: int, photos: int, low: float, high: float) -> None:
    """81 of 263 from Newcombe 1998 (method 3); none of n reaches z^2 / (n + z^2), which is 0.2775 for 10."""
    figure = share(right, photos)
    assert figure.value == right / photos
    assert (figure.low, figure.high) == pytest.approx((low, high), abs=5e-5)
