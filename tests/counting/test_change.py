"""Counts from the change between two photos: laws that hold whatever a network says of them."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bintally.bundle import ChangeCard
from bintally.counting.change import change_shares, new_counts, prior_of
from bintally.records import COUNT_KEYS

MOST = 3
"""D: changes of -3..3."""

WIDTH = 2 * MOST + 1

ROWS = st.lists(st.floats(0.01, 1), min_size=WIDTH, max_size=WIDTH).map(lambda row: tuple(row / np.sum(row)))
EVIDENCE = st.lists(st.floats(-30, 30), min_size=WIDTH, max_size=WIDTH).map(np.array)
EARLIER = st.integers(0, 40)
RATIOS = st.lists(st.floats(0, 20), min_size=7, max_size=7).map(lambda row: dict(zip(COUNT_KEYS, row, strict=True)))


@st.composite
def cards(draw: st.DrawFn) -> ChangeCard:
    return ChangeCard(
        max_change=MOST,
        prior=tuple(draw(st.lists(ROWS, min_size=1, max_size=4))),
        unchanged=draw(st.floats(0, 0.9)),
        temperature=draw(st.floats(0.5, 5)),
        photo_weight=draw(st.floats(0, 2)),
        set_threshold=0.9,
        model_sha256="",
        model_bytes=0,
    )


def _replaced(card: ChangeCard, **values: float) -> ChangeCard:
    return ChangeCard(**({name: getattr(card, name) for name in ChangeCard.__struct_fields__} | values))


@given(card=cards(), evidence_d=EVIDENCE, earlier=EARLIER, ratios=RATIOS)
def test_shares_of_changes_sum_to_one_and_no_bin_holds_less_than_nothing(
    card: ChangeCard, evidence_d: np.ndarray, earlier: int, ratios: dict[str, float]
) -> None:
    shares_d = change_shares(card, evidence_d, earlier, ratios)
    assert shares_d.sum() == pytest.approx(1)
    assert (shares_d >= 0).all()
    assert (shares_d[: max(MOST - earlier, 0)] == 0).all()
    shares_k = new_counts(card, shares_d, earlier, COUNT_KEYS)
    assert shares_k.sum() == pytest.approx(1)  # from 0 to the open top, no count is without a key


@given(card=cards(), earlier=EARLIER, constant=st.floats(-20, 20))
def test_a_comparison_that_sees_nothing_leaves_what_one_would_say_without_it(
    card: ChangeCard, earlier: int, constant: float
) -> None:
    prior_d = prior_of(card, earlier)
    assert prior_d.sum() == pytest.approx(1)
    for evidence_d in (np.zeros(WIDTH), np.full(WIDTH, constant)):
        assert change_shares(card, evidence_d, earlier, {}) == pytest.approx(prior_d, abs=1e-9)


@given(card=cards(), evidence_d=EVIDENCE, earlier=EARLIER, ratios=RATIOS)
def test_a_photo_of_no_weight_is_ignored(
    card: ChangeCard, evidence_d: np.ndarray, earlier: int, ratios: dict[str, float]
) -> None:
    deaf = _replaced(card, photo_weight=0.0)
    alone_d = change_shares(deaf, evidence_d, earlier, {})
    assert change_shares(deaf, evidence_d, earlier, ratios) == pytest.approx(alone_d)


@given(card=cards(), evidence_d=EVIDENCE, earlier=EARLIER, ratio=st.floats(0.1, 10))
def test_a_photo_that_shows_every_count_alike_says_nothing(
    card: ChangeCard, evidence_d: np.ndarray, earlier: int, ratio: float
) -> None:
    alone_d = change_shares(card, evidence_d, earlier, {})
    assert change_shares(card, evidence_d, earlier, dict.fromkeys(COUNT_KEYS, ratio)) == pytest.approx(alone_d)


@given(card=cards(), evidence_d=EVIDENCE, earlier=st.integers(MOST, 40), column=st.integers(0, WIDTH - 1))
def test_more_evidence_of_a_change_makes_it_more_probable(
    card: ChangeCard, evidence_d: np.ndarray, earlier: int, column: int
) -> None:
    before = change_shares(card, evidence_d, earlier, {})[column]
    assume(1e-9 < before < 1 - 1e-9)
    evidence_d = evidence_d.copy()
    evidence_d[column] += 1
    assert change_shares(card, evidence_d, earlier, {})[column] > before


def test_the_last_row_of_the_table_is_for_its_count_and_all_above() -> None:
    rows = tuple(tuple(np.eye(WIDTH)[column]) for column in (MOST, MOST + 1))
    card = ChangeCard(
        max_change=MOST, prior=rows, unchanged=0.25, temperature=1.0, photo_weight=0.0, set_threshold=0.9,
        model_sha256="", model_bytes=0,
    )  # fmt: skip
    for earlier in (1, 2, 30):
        assert prior_of(card, earlier)[MOST : MOST + 2] == pytest.approx([0.25, 0.75])


def test_a_count_that_no_key_names_is_left_out() -> None:
    card = ChangeCard(
        max_change=1, prior=((0.2, 0.5, 0.3),), unchanged=0.0, temperature=1.0, photo_weight=0.0, set_threshold=0.9,
        model_sha256="", model_bytes=0,
    )  # fmt: skip
    assert new_counts(card, prior_of(card, 3), 3, ("1", "2", "3")) == pytest.approx([0, 0.2, 0.5])
