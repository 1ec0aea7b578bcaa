"""choose: what it promises, for any table of bins."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bintally.errors import DataError
from bintally.inventory.planning.candidates import COUNT, OVERDUE
from bintally.inventory.planning.choose import choose
from bintally.inventory.planning.settings import Capacity, PhotoPower, PlanSettings
from bintally.inventory.policy.settings import Costs
from tests.inventory.planning.tables import ROWS, bins

CAPACITIES = st.builds(Capacity, st.integers(0, 6), st.integers(0, 6))
SETTINGS = st.builds(
    PlanSettings,
    overdue_share=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    keep=st.sampled_from([1.0, 2.0]),
    fill_counts=st.booleans(),
    fill_photos=st.booleans(),
)


def _looks(plan: pl.DataFrame) -> dict[str, str]:
    return dict(plan.select("bin", "look").iter_rows())


@settings(max_examples=60)
@given(ROWS, CAPACITIES, SETTINGS)
def test_no_capacity_is_exceeded_and_no_bin_planned_twice(
    rows: list[dict[str, object]], capacity: Capacity, how: PlanSettings
) -> None:
    plan = choose(bins(*rows), capacity, how)
    assert plan["bin"].is_unique().all()
    assert (plan["look"] == "count").sum() <= capacity.counts
    assert (plan["look"] == "photo").sum() <= capacity.photos
    assert plan["wrong"].is_between(0.0, 1.0).all()
    if how.fill_counts and not how.fill_photos:
        assert (plan["look"] == "count").sum() == min(capacity.counts, len(rows))


@settings(max_examples=60)
@given(ROWS, CAPACITIES, SETTINGS, st.randoms(use_true_random=False))
def test_the_order_of_the_table_does_not_matter(
    rows: list[dict[str, object]], capacity: Capacity, how: PlanSettings, chance: "object"
) -> None:
    table = bins(*rows)
    plan = choose(table, capacity, how)
    assert choose(table.sample(fraction=1.0, shuffle=True, seed=4), capacity, how).equals(plan)
    assert choose(table.reverse(), capacity, how).equals(plan)


@settings(max_examples=80)
@given(ROWS, st.data(), CAPACITIES, SETTINGS)
def test_what_is_likelier_wrong_is_never_left_out_for_what_is_less_so(
    rows: list[dict[str, object]], data: st.DataObject, capacity: Capacity, how: PlanSettings
) -> None:
    twin = data.draw(st.fixed_dictionaries({"right": st.integers(1, 99), "days": st.integers(0, 99)}))
    same = {"days_since_photo": float(twin["days"]), "days_since_count": None, "moves_since": 2}
    pair = [same | {"right": (twin["right"] - less) / 100} for less in (0, 1)]
    looks = _looks(choose(bins(*pair, *rows), capacity, how))
    assert "A-2" in looks or "A-1" not in looks, "A-2 is the likelier one"


@settings(max_examples=60)
@given(ROWS, CAPACITIES, SETTINGS)
def test_what_was_planned_and_not_done_stays(
    rows: list[dict[str, object]], capacity: Capacity, how: PlanSettings
) -> None:
    table = bins(*rows)
    plan = choose(table, capacity, how)
    before = pl.when(look=COUNT, why=OVERDUE).then(pl.lit(OVERDUE)).otherwise("look")
    kept = table.drop("planned", strict=False).join(
        plan.select("bin", planned=before), on="bin", how="left", maintain_order="left"
    )
    assert _looks(choose(kept, capacity, how)) == _looks(plan)


def test_a_planned_bin_gives_way_to_one_worth_more_than_twice_as_much() -> None:
    def chosen(right: float) -> str:
        table = bins({"right": 0.9, "planned": "count"}, {"right": right})
        table = table.with_columns(days_since_count=None, days_since_photo=pl.lit(0.0))
        return str(choose(table, Capacity(1, 0), PlanSettings(overdue_share=0.0))["bin"][0])

    assert [chosen(right) for right in (0.85, 0.81, 0.75)] == ["A-1", "A-1", "A-2"]


def test_a_share_of_the_counts_goes_to_what_is_longest_overdue() -> None:
    right = {"days_since_count": 0.0, "moves_since": 300}  # most likely wrong, and just counted
    late = [{"abc": "C", "days_since_count": days} for days in (500.0, 900.0, 360.0)]
    plan = choose(bins(*[right] * 20, *late), Capacity(10, 0), PlanSettings(overdue_share=0.2))
    overdue = plan.filter(pl.col("why") == OVERDUE)
    assert (overdue["bin"].sort().to_list(), len(plan)) == (["A-21", "A-22"], 10)
    one = choose(bins(*[right] * 20, *late), Capacity(5, 0), PlanSettings(overdue_share=0.2))
    assert one.filter(pl.col("why") == OVERDUE)["bin"].to_list() == ["A-22"]
    never = choose(bins({"days_since_count": None}, *late), Capacity(1, 0), PlanSettings(overdue_share=1.0))
    assert never["bin"].to_list() == ["A-1"], "who was never counted has waited longest"
    assert PlanSettings.of({"counts_a_year": {"A": 4}}).counts_a_year == {"A": 4.0}
    exempt = choose(bins(*late), Capacity(3, 0), PlanSettings(overdue_share=1.0, counts_a_year={"A": 4.0}))
    assert OVERDUE not in exempt["why"].to_list()


def test_a_count_settles_what_is_surely_wrong_and_a_photo_looks_at_what_may_be() -> None:
    table = bins({"right": 0.02}, {"right": 0.8}).with_columns(
        days_since_count=None, days_since_photo=3.0, moves_since=1
    )
    assert _looks(choose(table, Capacity(1, 1))) == {"A-1": "count", "A-2": "photo"}


def test_a_photo_that_mostly_makes_people_look_in_vain_is_not_planned() -> None:
    table = bins({"days_since_count": 1.0})
    assert _looks(choose(table, Capacity(0, 1))) == {}
    assert _looks(choose(table, Capacity(0, 1), PlanSettings(fill_photos=True))) == {"A-1": "photo"}
    sharp = PlanSettings(photo=PhotoPower(finds=1.0, spares=1.0))
    assert _looks(choose(table, Capacity(0, 1), sharp)) == {"A-1": "photo"}


def test_another_photo_of_what_nobody_has_touched_tells_little() -> None:
    table = bins(*[{"right": 0.8, "days_since_photo": 1.0, "moves_since": moves} for moves in (0, 1)])
    plan = choose(table.with_columns(days_since_count=None), Capacity(0, 2)).sort("bin")
    assert plan["worth"][0] < 0.3 * plan["worth"][1]


def test_counts_that_cost_more_than_they_save_are_made_only_to_fill_the_day() -> None:
    how = PlanSettings(costs=Costs(count=50.0), overdue_share=0.0)
    assert len(choose(bins({}, {}), Capacity(2, 0), how)) == 2
    assert len(choose(bins({}, {}), Capacity(2, 0), how.model_copy(update={"fill_counts": False}))) == 0


def test_an_error_costs_what_its_items_are_worth_where_that_is_more() -> None:
    table = bins({"unit_value": 1.0}, {"unit_value": 1000.0}, {"unit_value": None}, {"abc": "A"})
    plan = choose(table, Capacity(4, 0), PlanSettings(escape_by_class={"A": 90.0})).sort("bin")
    assert plan["loss"].round(1).to_list() == [40.0, 1500.0, 40.0, 90.0]


@pytest.mark.parametrize(
    ("column", "value"),
    [("right", 1.2), ("abc", "D"), ("units", -1), ("days_since_count", -0.1), ("planned", "dance"), ("bin", "A-1")],
)
def test_a_table_that_makes_no_sense_is_refused_with_the_bin(column: str, value: object) -> None:
    table = bins({}, {column: value})
    with pytest.raises(DataError, match=f"{column} can't be"):
        choose(table, Capacity(1, 1))


def test_a_table_without_a_column_or_of_other_types_is_refused() -> None:
    with pytest.raises(DataError, match="lack right"):
        choose(bins({}).drop("right"), Capacity(1, 1))
    with pytest.raises(DataError, match="can't be read"):
        choose(bins({}).with_columns(units=pl.lit("many")), Capacity(1, 1))


def test_nan_is_unknown_and_other_columns_are_passed_through() -> None:
    table = bins({}).with_columns(right=float("nan"), zone=pl.lit("north"))
    plan = choose(table, Capacity(1, 0))
    assert plan.select("right", "zone").rows() == [(None, "north")]


def test_no_bins_make_no_plan() -> None:
    assert len(choose(bins(), Capacity(5, 5))) == 0
