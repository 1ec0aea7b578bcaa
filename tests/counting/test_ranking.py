"""Right against wrong by their scores: AUROC and acceptance against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bintally.counting import metrics
from bintally.counting.ranked import Resampling, curve, ranked, ranked_counts

Scored = tuple[NDArray[np.float64], NDArray[np.bool_]]


def scored(seed: int, rights: int, wrongs: int, *, levels: int | None) -> Scored:
    """Scores, right ones somewhat higher; few `levels` make many ties."""
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(0.7, 1, rights), rng.normal(0, 1, wrongs)])
    scores = scores if levels is None else np.round(scores * levels / 4)
    order = rng.permutation(len(scores))
    return scores[order], (np.arange(len(scores)) < rights)[order]


some = st.builds(
    scored, st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 30), levels=st.sampled_from([None, 1, 4])
)


@given(some)
def test_auroc_is_the_share_of_right_and_wrong_in_order(made: Scored) -> None:
    scores, right = made
    won = [float(r > w) + 0.5 * float(r == w) for r in scores[right] for w in scores[~right]]
    assert metrics.roc(scores, right).auroc == pytest.approx(sum(won) / len(won))


@given(some, st.floats(0, 1))
def test_what_is_accepted_lies_between_the_thresholds_around_it(made: Scored, escaped: float) -> None:
    """Where no threshold lets just so many escape: on the line between the two next to it."""
    scores, right = made
    points = [(0.0, 0.0)]
    points += [
        (float(np.mean(scores[~right] >= at)), float(np.mean(scores[right] >= at))) for at in sorted(set(scores))[::-1]
    ]
    below = max(point for point in points if point[0] <= escaped + 1e-12)
    above = min((point for point in points if point[0] > escaped + 1e-12), default=below)
    share = (escaped - below[0]) / (above[0] - below[0]) if above != below else 0.0
    accepted = metrics.roc(scores, right).accepted_at(escaped)
    assert accepted == pytest.approx(below[1] + share * (above[1] - below[1]), abs=1e-9)


@given(some, st.floats(0, 1))
def test_the_threshold_keeps_its_promise_and_no_lower_score_would(made: Scored, escaped: float) -> None:
    scores, right = made
    threshold = metrics.roc(scores, right).threshold_at(escaped)
    assert np.mean(scores[~right] >= threshold) <= escaped + 1e-12
    lower = scores[scores < threshold]
    assert not len(lower) or np.mean(scores[~right] >= lower.max()) > escaped


def test_scores_that_say_nothing_accept_as_many_right_as_wrong() -> None:
    found = metrics.roc(np.zeros(50), np.arange(50) < 20)
    assert (found.auroc, found.accepted_at(0.1)) == pytest.approx((0.5, 0.1))
    assert found.threshold_at(0.1) == np.inf


def test_nothing_right_or_nothing_wrong_is_nan() -> None:
    for right in (np.ones(3, bool), np.zeros(3, bool)):
        assert np.isnan(metrics.roc(np.arange(3.0), right).auroc)


def test_every_count_of_a_photo_is_a_record_it_might_have() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]])
    scores, right = metrics.record_scores(probabilities, np.array([0, 1]))
    assert scores.tolist() == [0.7, 0.2, 0.1, 0.3, 0.3, 0.4]
    assert np.flatnonzero(right).tolist() == [0, 4]


def test_intervals_hold_the_figure_and_are_seeded() -> None:
    scores, right = scored(1, 80, 200, levels=None)
    groups = np.arange(len(scores)) // 3
    auroc, accepted = ranked(scores, right, groups, Resampling(0, 200))
    assert auroc.low < auroc.value < auroc.high
    assert accepted.low <= accepted.value <= accepted.high
    assert ranked(scores, right, groups, Resampling(0, 200)) == (auroc, accepted)
    assert ranked(scores, right, groups, Resampling(1, 200)) != (auroc, accepted)


def test_a_resample_without_a_right_one_says_nothing_and_breaks_nothing() -> None:
    scores, right = np.array([0.9, 0.5, 0.1]), np.array([True, False, False])
    auroc, _ = ranked(scores, right, np.arange(3), Resampling(0, 200))
    assert (auroc.value, auroc.low) == (1.0, 0.5)


def test_photos_of_a_bin_are_drawn_together() -> None:
    """Of one bin alone every resample is the same, however many records it might have."""
    probabilities = np.random.default_rng(0).dirichlet(np.ones(5), 40)
    found = ranked_counts(probabilities, np.arange(40) % 5, np.array(["one"] * 40), Resampling(0, 100))
    assert all(figure.low == figure.high == pytest.approx(figure.value) for figure in found.values())


def test_a_curve_is_thinned_to_its_ends() -> None:
    scores, right = scored(2, 500, 500, levels=None)
    points = curve(metrics.roc(scores, right))
    assert len(points) == 200
    assert (points[-1].escaped, points[-1].accepted) == (1.0, 1.0)
