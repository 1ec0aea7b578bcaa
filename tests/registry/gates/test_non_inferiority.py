"""The exact test of "hardly worse": against enumeration, at its level, and where photos of a bin say the same."""

from bisect import bisect_left
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multinomial

from bintally.registry.gates.non_inferiority import (
    Discordant,
    design_effect,
    discordant,
    level_of,
    non_inferiority,
    score,
)

_MARGIN = 0.1


def _of_bins(gains_n: list[float]) -> Discordant:
    return discordant(np.array(gains_n), np.arange(len(gains_n)))


def _least_score(scores: np.ndarray, photos: int, margin: float) -> float:
    """The lowest of the scores that passes: the p-value falls as the score grows."""
    known = np.unique(scores)
    place = bisect_left(known, -0.05, key=lambda score: -level_of(float(score), photos, margin))
    return float(known[place])


@settings(max_examples=10)
@given(st.integers(2, 9), st.data())
def test_it_is_what_enumeration_of_all_outcomes_says(photos: int, data: st.DataObject) -> None:
    gained = data.draw(st.integers(0, photos))
    lost = data.draw(st.integers(0, photos - gained))
    seen = float(score(gained, lost, photos, _MARGIN))
    outcomes = [(b, c) for b in range(photos + 1) for c in range(photos + 1 - b)]
    as_high = [(b, c) for b, c in outcomes if score(b, c, photos, _MARGIN) >= seen - 1e-9]

    def chance(p: float) -> float:
        shares = [p, p + _MARGIN, 1 - 2 * p - _MARGIN]
        return float(sum(multinomial.pmf([b, c, photos - b - c], photos, shares) for b, c in as_high))

    largest = max(chance(p) for p in np.linspace(0, (1 - _MARGIN) / 2, 100)[:-1])
    assert non_inferiority(Discordant(gained, lost, photos), _MARGIN) == pytest.approx(largest, abs=0.02)


@pytest.mark.parametrize(("photos", "margin"), [(20, 0.1), (50, 0.05), (120, 0.02), (200, 0.1)])
def test_a_model_that_is_worse_by_the_margin_passes_at_most_as_often_as_the_level(photos: int, margin: float) -> None:
    """Tango's score with normal quantiles would pass up to 5.8% of them."""
    gained, lost = np.array([(b, c) for b in range(photos + 1) for c in range(photos + 1 - b)]).T
    scores = score(gained, lost, photos, margin)
    passed = scores >= _least_score(scores, photos, margin)
    gained, lost = gained[passed], lost[passed]
    ways = np.array([float(comb(photos, b) * comb(photos - b, c)) for b, c in zip(gained, lost, strict=True)])
    for p in np.linspace(0, (1 - margin) / 2, 41)[:-1]:
        left = photos - gained - lost
        chances = ways * p**gained * (p + margin) ** lost * (1 - 2 * p - margin) ** left
        assert chances.sum() <= 0.0505  # between the shares that were tried


def test_a_few_photos_without_any_difference_prove_nothing() -> None:
    """Of 20 photos none lost: as likely as not even for a model that loses 3% (0.97^20 = 0.54)."""
    assert non_inferiority(_of_bins([0.0] * 20), 0.02) > 0.5
    assert non_inferiority(_of_bins([0.0] * 148), 0.02) > 0.05  # the rule of three: 3 / 0.02 photos
    assert non_inferiority(_of_bins([0.0] * 150), 0.02) < 0.05


def test_a_larger_margin_is_met_more_easily() -> None:
    seen = Discordant(20, 24, 400)
    p_values = [non_inferiority(seen, margin) for margin in (0.01, 0.03, 0.06)]
    assert p_values == sorted(p_values, reverse=True)
    assert p_values[0] > 0.05 > p_values[2]


def test_each_photo_lost_counts_against_it() -> None:
    p_values = [non_inferiority(Discordant(20, lost, 400), 0.05) for lost in (10, 20, 30, 40)]
    assert p_values == sorted(p_values)


def test_photos_of_a_bin_that_say_the_same_count_once() -> None:
    rng = np.random.default_rng(0)
    gains_n = rng.choice([1.0, -1.0, 0.0], p=[0.1, 0.1, 0.8], size=300)
    once = discordant(gains_n, np.arange(300))
    thrice = discordant(np.repeat(gains_n, 3), np.repeat(np.arange(300), 3))
    assert design_effect(np.repeat(gains_n, 3), np.repeat(np.arange(300), 3)) == pytest.approx(3)
    assert thrice.photos == once.photos
    assert abs(thrice.only_this - once.only_this) <= 1
    assert thrice.only_other >= once.only_other


def test_with_few_differences_photos_of_a_bin_are_taken_to_say_the_same() -> None:
    gains_n = np.zeros(400)
    gains_n[:3] = 1.0
    assert design_effect(gains_n, np.repeat(np.arange(200), 2)) == 2.0


def test_no_photos_prove_nothing() -> None:
    assert non_inferiority(Discordant(0, 0, 0), 0.1) == 1.0
