"""Figures against naive loops, known values, and what must hold for any model."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bintally.counting import metrics

VALUES = np.array([0, 1, 2, 3, 4, 5, 8.5])


def some_answers(
    seed: int, photos: int, keys: int, *, digits: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Distributions [N, K] and labels [N]; few `digits` make many ties."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(keys, 0.6), photos)
    if digits is not None:
        probabilities = np.round(probabilities, digits) + 10.0**-digits
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities, rng.integers(keys, size=photos)


answers = st.builds(
    some_answers, st.integers(0, 10_000), st.integers(1, 60), st.integers(2, 7), digits=st.sampled_from([None, 1])
)


@given(answers)
def test_point_figures_equal_naive_loops(made: tuple[NDArray[np.float64], NDArray[np.intp]]) -> None:
    probabilities, labels = made
    values = VALUES[-probabilities.shape[1] :]
    right, near, squares, absolute, nats = [], [], [], [], []
    for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
        best = row.index(max(row))
        mean = sum(p * v for p, v in zip(row, values, strict=True))
        right.append(best == label)
        near.append(abs(values[best] - values[label]) <= 1)
        squares.append((mean - values[label]) ** 2)
        absolute.append(abs(mean - values[label]))
        nats.append(-math.log(row[label]))
    n = len(labels)
    assert metrics.accuracy(probabilities, labels) == pytest.approx(sum(right) / n)
    assert metrics.within_one(probabilities, labels, values) == pytest.approx(sum(near) / n)
    assert metrics.rmse(probabilities, labels, values) == pytest.approx(math.sqrt(sum(squares) / n))
    assert metrics.mae(probabilities, labels, values) == pytest.approx(sum(absolute) / n)
    assert metrics.log_loss(probabilities, labels) == pytest.approx(sum(nats) / n)


@given(answers)
def test_confusion_counts_each_photo_once(made: tuple[NDArray[np.float64], NDArray[np.intp]]) -> None:
    probabilities, labels = made
    naive = np.zeros((probabilities.shape[1],) * 2, int)
    for row, label in zip(probabilities, labels, strict=True):
        naive[label, int(np.argmax(row))] += 1
    matrix = metrics.confusion(probabilities, labels)
    assert matrix.tolist() == naive.tolist()
    assert np.trace(matrix) / len(labels) == pytest.approx(metrics.accuracy(probabilities, labels))


@given(answers, st.integers(0, 100))
def test_figures_do_not_depend_on_the_order_of_photos(
    made: tuple[NDArray[np.float64], NDArray[np.intp]], seed: int
) -> None:
    probabilities, labels = made
    order = np.random.default_rng(seed).permutation(len(labels))
    one, other = (metrics.risk_coverage(probabilities[i], labels[i]) for i in (np.arange(len(labels)), order))
    assert one.aurc == pytest.approx(other.aurc)
    assert one.risk_t == pytest.approx(other.risk_t)
    assert metrics.ece(probabilities, labels) == pytest.approx(metrics.ece(probabilities[order], labels[order]))


@given(answers)
def test_risk_coverage_equals_accepting_by_hand(made: tuple[NDArray[np.float64], NDArray[np.intp]]) -> None:
    probabilities, labels = made
    sure, wrong = probabilities.max(axis=1), probabilities.argmax(axis=1) != labels
    curve = metrics.risk_coverage(probabilities, labels)
    for threshold, coverage, risk in zip(curve.threshold_t, curve.coverage_t, curve.risk_t, strict=True):
        accepted = sure >= threshold
        assert coverage == pytest.approx(accepted.mean())
        assert risk == pytest.approx(wrong[accepted].mean())
    assert curve.coverage_t[-1] == 1.0
    assert curve.risk_t[-1] == pytest.approx(1 - metrics.accuracy(probabilities, labels))
    assert curve.coverage_at(1.0) == 1.0
    allowed = [coverage for coverage, risk in zip(curve.coverage_t, curve.risk_t, strict=True) if risk <= 0.2]
    assert curve.coverage_at(0.2) == pytest.approx(max(allowed, default=0.0))


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(2, 12))
def test_aurc_with_ties_is_the_mean_over_random_orders(seed: int, photos: int) -> None:
    probabilities, labels = some_answers(seed, photos, 3, digits=1)
    rng = np.random.default_rng(seed)
    wrong = (probabilities.argmax(axis=1) != labels).astype(float)
    sure = np.round(probabilities.max(axis=1), 12)
    seen = []
    for _ in range(4000):
        order = np.lexsort((rng.random(photos), -sure))
        seen.append(np.mean(np.cumsum(wrong[order]) / np.arange(1, photos + 1)))
    spread = np.std(seen) / math.sqrt(len(seen))
    assert metrics.risk_coverage(probabilities.round(12), labels).aurc == pytest.approx(
        np.mean(seen), abs=5 * spread + 1e-9
    )


def test_known_values() -> None:
    """By hand: four photos, counts 1, 2 and 3."""
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])
    labels, values = np.array([0, 1, 2, 2]), np.array([1.0, 2.0, 3.0])
    assert metrics.accuracy(probabilities, labels) == 0.75
    assert metrics.within_one(probabilities, labels, values) == 0.75  # the third is counted 1, recorded 3
    assert metrics.expected(probabilities, values).tolist() == pytest.approx([1.4, 2.2, 1.7, 2.3])
    assert metrics.mae(probabilities, labels, values) == pytest.approx((0.4 + 0.2 + 1.3 + 0.7) / 4)
    assert metrics.rmse(probabilities, labels, values) == pytest.approx(math.sqrt((0.16 + 0.04 + 1.69 + 0.49) / 4))
    assert metrics.confusion(probabilities, labels).tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert metrics.recall_per_count(metrics.confusion(probabilities, labels)).tolist() == [1.0, 1.0, 0.5]
    assert metrics.precision_per_count(metrics.confusion(probabilities, labels)).tolist() == [0.5, 1.0, 1.0]
    curve = metrics.risk_coverage(probabilities, labels)  # surest first: 0.7, 0.6, then 0.5 twice, one of them wrong
    assert curve.coverage_t.tolist() == [0.25, 0.5, 1.0]
    assert curve.risk_t.tolist() == [0.0, 0.0, 0.25]
    assert curve.aurc == pytest.approx((0 + 0 + 0.5 / 3 + 1 / 4) / 4)
    assert curve.coverage_at(0.05) == 0.5


def test_recall_of_a_count_nobody_recorded_is_nan() -> None:
    shares = metrics.recall_per_count(np.array([[0, 0], [1, 3]]))
    assert math.isnan(shares[0])
    assert shares[1] == 0.75


def test_a_certain_mistake_costs_much_but_not_infinity() -> None:
    assert metrics.log_loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-math.log(1e-12))


def test_ece_equals_a_naive_loop_over_sorted_photos() -> None:
    probabilities, labels = some_answers(3, 300, 5)
    order = np.argsort(probabilities.max(axis=1))
    sure = probabilities.max(axis=1)[order]
    right = (probabilities.argmax(axis=1) == labels)[order]
    parts = zip(np.array_split(sure, 15), np.array_split(right, 15), strict=True)  # 20 photos each, no ties
    naive = sum(abs(s.mean() - r.mean()) * len(s) for s, r in parts) / 300
    assert metrics.ece(probabilities, labels) == pytest.approx(naive)
    assert metrics.reliability(probabilities, labels).photos_b.tolist() == [20] * 15


def test_ece_of_equally_sure_photos_is_one_bin() -> None:
    probabilities = np.tile([0.8, 0.2], (10, 1))
    labels = np.array([0] * 5 + [1] * 5)
    assert metrics.ece(probabilities, labels) == pytest.approx(0.3)
    assert metrics.reliability(probabilities, labels).photos_b.tolist() == [10]


def test_chance_level_of_the_ece_holds_for_calibrated_models_and_exposes_overconfident_ones() -> None:
    rng = np.random.default_rng(5)
    below, caught = 0, 0
    for trial in range(40):
        probabilities = rng.dirichlet(np.full(5, 0.7), 400)
        labels = (probabilities.cumsum(axis=1) < rng.random(400)[:, None]).sum(axis=1).clip(0, 4)
        limit = metrics.ece_if_calibrated(probabilities, draws=300, seed=trial)
        below += metrics.ece(probabilities, labels) <= limit
        bold = probabilities**2 / (probabilities**2).sum(axis=1, keepdims=True)
        caught += metrics.ece(bold, labels) > metrics.ece_if_calibrated(bold, draws=300, seed=trial)
    assert below >= 34  # 38 expected
    assert caught == 40


@pytest.mark.parametrize("photos", [1, 2, 14, 400])
def test_chance_level_is_the_same_for_the_same_seed(photos: int) -> None:
    probabilities, _ = some_answers(1, photos, 4)
    one = metrics.ece_if_calibrated(probabilities, seed=7)
    assert one == metrics.ece_if_calibrated(probabilities, seed=7)
    assert 0 <= one <= 1


@given(answers)
def test_blind_answers_fitted_in_hindsight_beat_every_other_constant(
    made: tuple[NDArray[np.float64], NDArray[np.intp]],
) -> None:
    probabilities, labels = made
    keys = probabilities.shape[1]
    values = VALUES[:keys]
    blind = metrics.blind_baselines(metrics.prior(labels, keys), labels, values)
    constants = [np.tile(np.eye(keys)[k], (len(labels), 1)) for k in range(keys)]
    assert blind["accuracy"] == pytest.approx(max(metrics.accuracy(c, labels) for c in constants))
    assert blind["within_one"] == pytest.approx(max(metrics.within_one(c, labels, values) for c in constants))
    assert blind["mae"] == pytest.approx(min(metrics.mae(c, labels, values) for c in constants))
    assert blind["rmse"] <= min(metrics.rmse(c, labels, values) for c in constants) + 1e-9
    flat = np.full((len(labels), keys), 1 / keys)
    assert blind["log_loss"] <= metrics.log_loss(flat, labels) + 1e-9


def test_blind_answers_are_fitted_on_the_prior_and_judged_on_the_labels() -> None:
    blind = metrics.blind_baselines(np.array([0.5, 0.3, 0.2]), np.array([2, 2, 1, 0]), np.array([1.0, 2.0, 3.0]))
    assert blind["accuracy"] == 0.25  # always 1, the prior's commonest
    assert blind["within_one"] == 1.0  # always 2
    assert blind["rmse"] == pytest.approx(math.sqrt((1.3**2 * 2 + 0.3**2 + 0.7**2) / 4))  # always 1.7, the prior's mean
    assert blind["mae"] == pytest.approx((2 + 2 + 1 + 0) / 4)  # always 1, the prior's median
    assert blind["log_loss"] == pytest.approx(-(2 * math.log(0.2) + math.log(0.3) + math.log(0.5)) / 4)


def test_headline_values_are_the_plain_figures_within_their_intervals() -> None:
    probabilities, labels = some_answers(11, 500, 7)
    figures = metrics.headline(probabilities, labels, VALUES, resamples=500)
    assert figures["accuracy"].value == pytest.approx(metrics.accuracy(probabilities, labels))
    assert figures["rmse"].value == pytest.approx(metrics.rmse(probabilities, labels, VALUES))
    assert figures["mae"].value == pytest.approx(metrics.mae(probabilities, labels, VALUES))
    assert figures["within_one"].value == pytest.approx(metrics.within_one(probabilities, labels, VALUES))
    assert figures["log_loss"].value == pytest.approx(metrics.log_loss(probabilities, labels))
    assert all(figure.low < figure.value < figure.high for figure in figures.values())


def test_set_figures() -> None:
    sets = np.array([[True, True, False], [False, True, False], [True, False, False], [True, True, True]])
    assert metrics.set_coverage(sets, np.array([0, 1, 1, 2])) == 0.75
    assert metrics.set_size(sets) == 7 / 4


def test_golden_figures() -> None:
    """Guards against a change of definition; made without a random generator, whose stream may change with numpy."""
    n, k = np.arange(250)[:, None], np.arange(6)[None, :]
    weights = np.exp(2 * np.sin(n * 0.7 + k * 1.9 + n * k * 0.13))
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(axis=1) < (np.arange(250) * 0.618034 % 1)[:, None]).sum(axis=1)
    found = {
        "accuracy": metrics.accuracy(probabilities, labels),
        "rmse": metrics.rmse(probabilities, labels, np.arange(6.0)),
        "log_loss": metrics.log_loss(probabilities, labels),
        "ece": metrics.ece(probabilities, labels),
        "aurc": metrics.risk_coverage(probabilities, labels).aurc,
    }
    assert found == pytest.approx(GOLDEN, rel=1e-6)


GOLDEN = {"accuracy": 0.416, "rmse": 1.526466404, "log_loss": 1.315309975, "ece": 0.076474370, "aurc": 0.452331975}
