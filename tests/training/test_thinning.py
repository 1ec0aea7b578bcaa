"""A thinned curve is short, in order, and keeps what stands out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from bintally.training.thinning import extremes, means, smoothed

CURVES = arrays(np.float64, st.integers(1, 400), elements=st.floats(-1e6, 1e6))


@given(CURVES, st.integers(6, 100))
def test_extremes_keep_least_largest_and_both_ends(values: NDArray[np.float64], points: int) -> None:
    kept = extremes(values, points)
    assert len(kept) <= max(points, 8)
    assert (np.diff(kept) > 0).all()
    assert {kept[0], kept[-1]} == {0, len(values) - 1}
    assert (values[kept].min(), values[kept].max()) == (values.min(), values.max())


def test_a_single_spike_of_a_million_steps_is_kept() -> None:
    loss = np.ones(1_000_000)
    loss[654_321] = 9.0
    assert 654_321 in extremes(loss, 900)
    assert len(extremes(loss, 900)) <= 900


def test_what_is_not_a_number_stays_a_gap() -> None:
    loss = np.linspace(2, 1, 5000)
    loss[4000:] = np.nan
    assert np.isnan(loss[extremes(loss, 100)]).any()
    assert np.isnan(smoothed(loss, 11)[4500])
    assert smoothed(loss, 11)[4002] == pytest.approx(loss[3997:4000].mean())


@given(CURVES, st.integers(1, 60))
def test_means_of_stretches_sum_to_the_whole(values: NDArray[np.float64], points: int) -> None:
    at, heights = means(values, points)
    assert len(at) == len(heights) == min(points, len(values))
    assert heights.min() >= values.min() - 1e-6
    assert heights.max() <= values.max() + 1e-6
    assert (np.diff(at) > 0).all()
    if len(values) % len(at) == 0:
        assert heights.mean() == pytest.approx(values.mean(), rel=1e-9, abs=1e-6)


@given(CURVES, st.integers(1, 50))
def test_a_running_mean_is_the_mean_of_its_neighbours(values: NDArray[np.float64], span: int) -> None:
    place = len(values) // 2
    near = values[max(place - span // 2, 0) : place + span // 2 + 1]
    assert smoothed(values, span)[place] == pytest.approx(near.mean(), rel=1e-6, abs=1e-3)
