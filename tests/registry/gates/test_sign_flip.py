"""The randomisation test: exact where all swaps can be tried, at its level where they are drawn."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binom, binomtest, kstest

from bintally.registry.gates.sign_flip import EXACT, by_bin, sign_flip, sign_flips

_few = arrays(np.float64, st.integers(1, 8), elements=st.integers(-3, 3).map(float))


def _equal_models(pairs: int, bins: int, *, seed: int) -> np.ndarray:
    """Gains by bin of models that are equally good, [S, G]: heavy tails, and many bins without any difference."""
    rng = np.random.default_rng(seed)
    differing_sg = rng.random((pairs, bins)) < 0.4
    return np.where(differing_sg, rng.standard_t(3, size=(pairs, bins)), 0.0)


@given(_few)
def test_few_bins_are_tested_by_all_swaps(gains_g: np.ndarray) -> None:
    swaps = [np.dot(signs, gains_g) for signs in product((1, -1), repeat=len(gains_g))]
    assert sign_flip(gains_g) == pytest.approx(np.mean(np.array(swaps) >= gains_g.sum()))


@given(_few)
def test_swapping_the_models_turns_the_evidence_round(gains_g: np.ndarray) -> None:
    swaps = np.array([np.dot(signs, gains_g) for signs in product((1, -1), repeat=len(gains_g))])
    as_seen = np.mean(swaps == gains_g.sum())
    assert sign_flip(gains_g) + sign_flip(-gains_g) == pytest.approx(1 + as_seen)


def test_accuracy_on_single_photos_is_mcnemars_test() -> None:
    gains_g = np.repeat([1.0, -1.0, 0.0], [30, 14, 400])
    assert sign_flip(gains_g, flips=99_999) == pytest.approx(binom.sf(29, 44, 0.5), abs=2e-3)


@pytest.mark.parametrize("bins", [1, EXACT, EXACT + 1, 500])
def test_models_that_answer_alike_are_never_better(bins: int) -> None:
    assert sign_flip(np.zeros(bins)) == 1.0


@given(_few, st.integers(1, 300))
def test_photos_on_which_both_are_alike_change_nothing(gains_g: np.ndarray, alike: int) -> None:
    assert sign_flip(np.concatenate([gains_g, np.zeros(alike)])) == sign_flip(gains_g)


def test_answers_that_are_no_numbers_are_never_better() -> None:
    assert sign_flip(np.array([5.0, np.nan])) == 1.0
    assert sign_flip(np.full(100, np.inf)) == 1.0


def test_the_order_of_photos_and_the_names_of_bins_do_not_matter() -> None:
    rng = np.random.default_rng(4)
    terms_n, bins_n = rng.normal(size=200), rng.integers(60, size=200)
    order = rng.permutation(200)
    assert by_bin(terms_n[order], bins_n[order]) == pytest.approx(by_bin(terms_n, bins_n))
    assert by_bin(np.ones(4), np.array(["b", "a", "b", "b"])).tolist() == [1.0, 3.0]


def test_many_pairs_at_once_are_tested_as_one_by_one() -> None:
    gains_sg = _equal_models(5, 80, seed=2)
    gains_sg[1, 5:] = 0.0
    together = sign_flips(gains_sg, flips=999, seed=3)
    assert together.tolist() == [sign_flip(gains_g, flips=999, seed=3) for gains_g in gains_sg]


@pytest.mark.parametrize("bins", [15, 60, 400])
def test_equal_models_pass_no_more_often_than_the_level_says(bins: int) -> None:
    """1,000 pairs: more passes than chance explains (once in 1,000 such tests) would be a wrong level."""
    p_s = sign_flips(_equal_models(1000, bins, seed=bins), flips=999)
    for level in (0.01, 0.05, 0.2):
        passed = int((p_s <= level).sum())
        assert binomtest(passed, 1000, level, alternative="greater").pvalue > 1e-3, (level, passed)


def test_p_values_of_equal_models_are_uniform() -> None:
    p_s = sign_flips(_equal_models(1000, 200, seed=9), flips=999)
    assert kstest(p_s, "uniform").pvalue > 1e-3


def test_a_better_model_passes_the_more_often_the_more_photos_there_are() -> None:
    rng = np.random.default_rng(6)
    shares = [
        float((sign_flips(rng.normal(0.1, 1.0, size=(300, bins)), flips=499) <= 0.05).mean()) for bins in (50, 200, 800)
    ]
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] > 0.8  # normal theory: 0.88
