"""The assignment of looks, against every other one there is."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from bintally.inventory.planning.assign import COUNTED, NONE, PHOTOGRAPHED, assign
from bintally.inventory.planning.settings import Capacity

VALUES = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), max_size=7)


def _arrays(values: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.array(values, np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _worth(values: list[tuple[int, int]], looks: tuple[int, ...]) -> int:
    return sum((0, count, photo)[look] for (count, photo), look in zip(values, looks, strict=True))


@given(VALUES, st.integers(0, 4), st.integers(0, 4), st.booleans(), st.booleans())
def test_no_other_assignment_is_worth_more(
    values: list[tuple[int, int]], counts: int, photos: int, fill_counts: bool, fill_photos: bool
) -> None:
    found = tuple(
        assign(*_arrays(values), Capacity(counts, photos), fill_counts=fill_counts, fill_photos=fill_photos).tolist()
    )

    def rank(looks: tuple[int, ...]) -> tuple[int, int]:
        """Looks that are to be filled up come first, then what all are worth."""
        return looks.count(COUNTED) * fill_counts + looks.count(PHOTOGRAPHED) * fill_photos, _worth(values, looks)

    possible = [
        looks
        for looks in product((NONE, COUNTED, PHOTOGRAPHED), repeat=len(values))
        if looks.count(COUNTED) <= counts and looks.count(PHOTOGRAPHED) <= photos
    ]
    assert found in possible
    assert rank(found) == max(map(rank, possible))


def test_thousands_of_bins_are_assigned_as_well_as_by_the_hungarian_method() -> None:
    chance = np.random.default_rng(5)
    count_n, photo_n = chance.integers(-500, 5000, 900), chance.integers(-200, 3000, 900)
    looks = assign(count_n, photo_n, Capacity(60, 150))
    columns = np.hstack([np.tile(count_n[:, None], 60), np.tile(photo_n[:, None], 150)])
    rows, chosen = linear_sum_assignment(np.maximum(columns, 0), maximize=True)
    assert (
        count_n[looks == COUNTED].sum() + photo_n[looks == PHOTOGRAPHED].sum()
        == np.maximum(columns, 0)[rows, chosen].sum()
    )


@pytest.mark.parametrize("counts", [0, 2])
def test_of_bins_worth_the_same_the_earlier_ones_are_taken(counts: int) -> None:
    looks = assign(np.full(5, 7), np.full(5, 7), Capacity(counts, 1))
    assert (looks != NONE).tolist() == [True] * (counts + 1) + [False] * (4 - counts)


def test_money_beyond_64_bits_is_added_up() -> None:
    most = np.full(30, 10**18)
    assert (assign(most, most, Capacity(10, 10)) != NONE).sum() == 20
