"""McNemar's test against enumeration, Holm's correction, and how many photos it takes to see a difference."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.counting.paired import distance, holm, mcnemar, photos_to_see


@given(st.integers(0, 10), st.integers(0, 10))
def test_mcnemar_is_what_enumeration_of_all_coin_tosses_says(only_first: int, only_second: int) -> None:
    """Each photo that one model alone gets right is a fair coin; as extreme: as far from half, or further."""
    photos = only_first + only_second
    as_far, further = 0, 0
    for tosses in product((0, 1), repeat=min(photos, 12)):
        apart = abs(2 * sum(tosses) - photos)
        as_far += apart == abs(only_first - only_second)
        further += apart > abs(only_first - only_second)
    exact, mid = mcnemar(only_first, only_second)
    if photos <= 12:
        assert exact == pytest.approx(float(Fraction(as_far + further, 2**photos)))
        # At a tie both sides hold the middle: the mid-p-value is twice the smaller one-sided one, which is a half.
        told = Fraction(2 * further + as_far, 2 ** (photos + 1))
        assert mid == pytest.approx(1.0 if only_first == only_second else float(told))
    assert 0 < mid <= exact <= 1


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_mcnemar_does_not_ask_which_model_is_first(only_first: int, only_second: int) -> None:
    assert mcnemar(only_first, only_second) == mcnemar(only_second, only_first)


def test_mcnemar_of_many_photos_neither_underflows_nor_overflows() -> None:
    exact, mid = mcnemar(60_000, 40_000)
    assert 0 <= mid <= exact < 1e-300
    exact, mid = mcnemar(50_100, 49_900)
    assert exact == pytest.approx(0.529, abs=2e-3)  # normal approximation with continuity correction: z = 0.629
    assert mid == pytest.approx(0.527, abs=2e-3)


def test_mcnemar_is_that_of_a_published_example() -> None:
    """Fagerland et al. 2013, table 2 (Bentur et al.): 1 and 7 discordant pairs, exact 0.070, mid-p 0.039."""
    exact, mid = mcnemar(1, 7)
    assert exact == pytest.approx(0.0703, abs=5e-4)
    assert mid == pytest.approx(0.0391, abs=5e-4)


def test_holm_is_that_of_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, corrected, strict=True))
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert [corrected[place] for place in order] == sorted(corrected)


def test_photos_to_see_a_difference_are_those_that_a_simulation_needs() -> None:
    """At the number it names, McNemar's mid-p test sees the difference about four times in five."""
    difference, discordant = 0.05, 0.25
    photos, rng = photos_to_see(difference, discordant), np.random.default_rng(0)
    shares = [(discordant + difference) / 2, (discordant - difference) / 2, 1 - discordant]
    drawn = rng.multinomial(photos, shares, size=600)
    power = np.mean([mcnemar(int(better), int(worse))[1] < 0.05 for better, worse, _ in drawn])
    assert power == pytest.approx(0.8, abs=0.05)


def test_distance_is_0_for_the_same_answer_and_1_for_answers_with_nothing_in_common() -> None:
    first_nk, second_nk = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]), np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    assert distance(first_nk, second_nk).tolist() == [0.0, 1.0]
