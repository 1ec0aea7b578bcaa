from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bintally.training.tune.search_plan import (
    USABLE,
    Amounts,
    Speed,
    best_of_rung,
    plan_trial,
    trials_that_fit,
)
from bintally.training.tune.search_presets import PRESETS, Rung, Way

ALL = Way(name="all layers", tune="all", px=(192, 160, 128))
FROZEN = Way(name="frozen", tune="head", px=(128, 96))
AMOUNTS = Amounts(train=10_000, drawn=8_000, val=1_000)

speeds = st.builds(Speed, st.floats(5, 5000), st.floats(2, 2000))
amounts = st.integers(64, 50_000).flatmap(
    lambda train: st.builds(Amounts, train=st.just(train), drawn=st.integers(1, train), val=st.integers(1, train))
)


@given(st.sampled_from([ALL, FROZEN]), st.floats(1, 1e5), amounts, speeds, st.floats(0, 60), st.floats(0, 3))
def test_what_is_planned_fits(
    way: Way, seconds: float, amounts: Amounts, speed: Speed, overhead_s: float, least: float
) -> None:
    planned = plan_trial(way, least_passes=least, seconds=seconds, amounts=amounts, speed=speed, overhead_s=overhead_s)
    assume(planned is not None)
    assert planned is not None
    assert planned.px in way.px
    assert planned.seconds <= USABLE * seconds + 1e-6
    assert 0 < planned.share <= 1
    assert planned.epochs >= 1


def test_more_time_is_more_passes_or_more_pixels() -> None:
    found = [
        plan_trial(ALL, least_passes=1.0, seconds=seconds, amounts=AMOUNTS, speed=Speed(100, 30), overhead_s=10)
        for seconds in (120, 400, 800, 1600, 6400)
    ]
    assert all(planned is not None for planned in found)
    grown = [(planned.px, planned.passes) for planned in found if planned is not None]
    assert grown == sorted(grown)
    assert grown[0][0] == 128
    assert grown[-1][0] == 192


def test_frozen_features_are_looked_at_at_the_largest_side_that_fits() -> None:
    found = {
        seconds: plan_trial(
            FROZEN, least_passes=0, seconds=seconds, amounts=AMOUNTS, speed=Speed(100, 30), overhead_s=10
        )
        for seconds in (20, 100, 200)
    }
    assert found[20] is None
    assert found[100] is not None
    assert found[100].px == 96
    assert found[200] is not None
    assert found[200].px == 128


def test_a_trial_that_may_be_stopped_has_several_epochs_where_val_is_cheap() -> None:
    cheap = plan_trial(
        ALL,
        least_passes=0,
        seconds=200,
        amounts=Amounts(train=10_000, drawn=10_000, val=50),
        speed=Speed(100, 30),
        overhead_s=10,
    )
    assert cheap is not None
    assert cheap.epochs == 4
    assert cheap.passes < 1


@given(st.integers(1, 20), st.floats(0, 1e5), st.floats(0, 60), st.integers(1, 8))
def test_at_least_one_trial_and_no_more_than_wanted(
    wanted: int, seconds: float, overhead_s: float, parallel: int
) -> None:
    assert 1 <= trials_that_fit(wanted, seconds=seconds, overhead_s=overhead_s, parallel=parallel) <= wanted


def test_the_best_judged_enter_first_then_those_never_judged() -> None:
    rung = Rung(ways=(ALL,), survivors=3, share=0.5)
    assert best_of_rung(rung, ["c", "a", "c", "gone"], ["a", "b", "c", "d"]) == ["c", "a", "b"]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_divide_the_time_and_give_survivors_more(name: str) -> None:
    preset = PRESETS[name]  # type: ignore[index]
    assert sum(rung.share for rung in preset.rungs) < 0.7  # the rest has the lion's part
    rungs = [*preset.rungs, preset.rest]
    for earlier, later in pairwise(rungs):
        assert later.survivors <= earlier.survivors
        assert max(way.px[0] for way in later.ways) >= max(way.px[0] for way in earlier.ways)
        assert later.passes >= earlier.passes
    for rung in rungs:
        for way in rung.ways:
            assert list(way.px) == sorted(way.px, reverse=True)
