"""How often records are wrong: from site to bin, of all records and not of the doubtful."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.errors import DataError
from bintally.inventory.policy.rates import rates
from bintally.inventory.policy.settings import PolicySettings

KNOWN = PolicySettings()
RECORDS = pl.DataFrame(
    {"abc_class": ["A", "A", "A", "B"], "product": ["p", "p", "q", "r"], "bin": ["1", "2", "3", "4"]}
)
Row = tuple[int, bool]
ROWS = st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30)


def outcomes(rows: list[Row], propensity: float = 1.0) -> pl.DataFrame:
    places = [RECORDS.row(place, named=True) for place, _ in rows]
    columns: dict[str, Any] = {name: [place[name] for place in places] for name in RECORDS.columns}
    columns |= {"wrong": [wrong for _, wrong in rows], "propensity": [propensity] * len(rows)}
    schema = dict.fromkeys(RECORDS.columns, pl.String) | {"wrong": pl.Boolean, "propensity": pl.Float64}
    return pl.DataFrame(columns, schema=schema)


@pytest.mark.parametrize("guess", [0.001, 0.05, 0.3, 0.9])
def test_without_outcomes_the_guess_is_reckoned_with(guess: float) -> None:
    found = rates(RECORDS, outcomes([]), PolicySettings(wrong_records=guess))
    assert found["upper"].to_list() == pytest.approx([guess] * 4, rel=1e-3)
    assert (found["mean"] <= found["upper"] + 1e-12).all()


def test_what_is_reckoned_with_comes_near_the_mean_as_outcomes_come_in() -> None:
    gaps = []
    for many in (40, 400, 4000):
        found = rates(RECORDS, outcomes([(n % 4, n % 20 == 0) for n in range(many)]), KNOWN)
        gaps.append(float((found["upper"] - found["mean"]).to_numpy().max()))
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.005


def test_wrong_records_raise_the_bin_most_then_its_product_then_its_class() -> None:
    mean = rates(RECORDS, outcomes([(0, True)] * 5), KNOWN)["mean"].to_list()
    guess = rates(RECORDS, outcomes([]), KNOWN)["mean"][0]
    assert mean[0] > mean[1] > mean[2] > mean[3] > guess


def test_many_outcomes_replace_the_guess() -> None:
    rows = [(0, n % 4 == 0) for n in range(20_000)]
    assert rates(RECORDS, outcomes(rows), KNOWN)["mean"][0] == pytest.approx(0.25, abs=0.01)


def test_the_doubtful_do_not_stand_for_all() -> None:
    """900 accepted records of which 2% are wrong are looked at rarely, 100 doubtful ones of which half are always."""
    rng = np.random.default_rng(0)
    accepted = outcomes([(0, bool(wrong)) for wrong in rng.random(900) < 0.02], 0.1)
    doubtful = outcomes([(0, n % 2 == 0) for n in range(1000)])
    seen = pl.concat([accepted, doubtful])  # 9,000 accepted, 1,000 doubtful
    assert rates(RECORDS, seen, KNOWN)["mean"][0] == pytest.approx(0.068, abs=0.02)


@given(ROWS, st.integers(0, 3))
def test_more_wrong_outcomes_never_lower_a_rate(rows: list[Row], place: int) -> None:
    before, after = rates(RECORDS, outcomes(rows), KNOWN), rates(RECORDS, outcomes([*rows, (place, True)]), KNOWN)
    assert (after["mean"] >= before["mean"] - 1e-12).all()
    assert after["upper"][place] >= before["upper"][place] - 1e-9


@given(ROWS.filter(bool), st.data())
def test_a_right_record_found_wrong_never_lowers_a_rate(rows: list[Row], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    changed = [*rows[:place], (rows[place][0], True), *rows[place + 1 :]]
    weights = pl.Series([0.02 if n % 3 else 1.0 for n in range(len(rows))])
    before, after = (
        rates(RECORDS, outcomes(each).with_columns(propensity=weights), KNOWN)["mean"] for each in (rows, changed)
    )
    assert (after >= before - 1e-12).all()


@given(ROWS)
def test_rates_are_shares_and_the_upper_one_is_above(rows: list[Row]) -> None:
    found = rates(RECORDS, outcomes(rows), KNOWN)
    assert found["mean"].is_between(0.0, 1.0).all()
    assert found["upper"].is_between(0.0, 1.0).all()
    assert (found["upper"] >= found["mean"]).all()


def test_what_is_no_table_of_outcomes_is_an_error() -> None:
    with pytest.raises(DataError, match="propensity"):
        rates(RECORDS, outcomes([(0, True)], 0.0), KNOWN)
    with pytest.raises(DataError, match="lack wrong"):
        rates(RECORDS, outcomes([]).drop("wrong"), KNOWN)
