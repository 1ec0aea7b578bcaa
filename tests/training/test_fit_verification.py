"""Wrong records that don't give themselves away, and what is learnt from them."""

from collections import Counter as Tally

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.records import Product
from bintally.training.fit_verification import _logistic, _matched, wrong_record

quantities = st.lists(st.integers(1, 4), min_size=1, max_size=5)


@given(quantities, st.integers(0, 10**6))
def test_a_wrong_record_has_one_error(held: list[int], seed: int) -> None:
    products = tuple(Product(f"P{place}", "", quantity) for place, quantity in enumerate(held))
    catalogue = (*products, Product("X", "", 2), Product("Y", "", 1))
    wrong = wrong_record(products, catalogue, np.random.default_rng(seed))
    before = Tally({product.asin: product.quantity for product in products})
    after = Tally({product.asin: product.quantity for product in wrong})
    changed = [asin for asin in {*before, *after} if before[asin] != after[asin]]
    assert len(changed) == 1
    assert all(product.quantity > 0 for product in wrong)
    assert len({product.asin for product in wrong}) == len(wrong)


def test_weights_make_the_wrong_look_like_the_right_to_a_blind_model() -> None:
    kinds = [(2, 1)] * 6 + [(3, 2)] * 4 + [(2, 1)] * 3 + [(3, 2)] * 7
    right_r = np.array([True] * 10 + [False] * 10)
    weights_r = _matched(kinds, right_r)
    for kind in set(kinds):
        of_kind = np.array([each == kind for each in kinds])
        assert weights_r[of_kind & right_r].sum() == pytest.approx(weights_r[of_kind & ~right_r].sum())


def test_odds_are_fitted_and_never_turned_around() -> None:
    rng = np.random.default_rng(0)
    odds_r = rng.normal(0, 2, 4000)
    right_r = rng.random(4000) < 1 / (1 + np.exp(-(0.7 * odds_r - 0.3)))
    slope, bias, _ = _logistic(odds_r, right_r, np.ones(4000))
    assert slope == pytest.approx(0.7, abs=0.1)
    assert bias == pytest.approx(-0.3, abs=0.1)
    slope, bias, _ = _logistic(-odds_r, right_r, np.ones(4000))
    assert slope == 0
    assert 1 / (1 + np.exp(-bias)) == pytest.approx(right_r.mean(), abs=1e-6)
