"""The truth of a site: items are neither made nor lost unseen, and errors come at the rates that were asked for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.simulation.draws import CLASSES, draw
from bintally.simulation.settings import Errors, SimulationSettings
from tests.simulation.sites import NO_ERRORS, changed, left_alone


@given(seed=st.integers(0, 10_000), rate=st.sampled_from([0.0, 0.01, 0.3]))
def test_what_there_is_is_what_there_was_and_came_less_what_went_and_was_lost(seed: int, rate: float) -> None:
    errors = Errors.of(dict.fromkeys(Errors.model_fields, rate / len(Errors.model_fields)))
    settings = SimulationSettings(days=10, bins=8, errors=errors)
    yard = left_alone(settings, seed)
    told = yard.tally.truth()
    assert told["start"] + told["came"] - told["went"] - told["lost"] == told["end"]
    assert (yard.world.truth_s >= 0).all()
    assert (yard.erp.on_hand_s >= 0).all()


def test_without_errors_records_stay_right() -> None:
    settings = changed(SimulationSettings(days=60, bins=30, errors=NO_ERRORS), people={"wrong_counts": 0.0})
    yard = left_alone(settings)
    assert set(yard.tally.days.right_bins) == {1.0}
    assert yard.tally.errors == yard.tally.error_days == yard.world.short_picks == yard.world.missed_orders == 0
    assert yard.world.flow.went > 100


def test_more_theft_leaves_fewer_records_right() -> None:
    right = []
    for loss in (0.0, 0.001, 0.01):
        settings = SimulationSettings(days=60, bins=50, errors=NO_ERRORS.model_copy(update={"loss_per_item_day": loss}))
        yards = [left_alone(settings, seed) for seed in range(3)]
        right.append(np.mean([yard.tally.days.right_bins for yard in yards]))
    assert right[0] > right[1] > right[2]
    assert right[0] > 0.94  # those that were wrong on day one


def test_picks_out_of_the_bin_beside_leave_two_bins_wrong() -> None:
    errors = NO_ERRORS.model_copy(update={"pick_bin": 1.0})
    settings = SimulationSettings(days=7, bins=40, errors=errors)
    settings = changed(
        settings,
        stock={**settings.stock.model_dump(), "wrong_at_start": 0.0, "picks_per_day": 0.02, "two_products": 0.0},
    )
    yard = left_alone(settings, seed=3)
    off = yard.erp.on_hand_s - yard.world.truth_s
    assert off.sum() == 0
    assert (off > 0).sum() == (off < 0).sum() > 0


def test_a_picker_who_finds_too_little_corrects_the_record() -> None:
    errors = NO_ERRORS.model_copy(update={"loss_per_item_day": 0.1})
    yard = left_alone(SimulationSettings(days=40, bins=30, errors=errors))
    assert 0 < yard.world.short_picks == sum(yard.tally.days.short_picks)
    assert 0 < yard.tally.corrections.by_pickers <= yard.world.short_picks
    assert yard.tally.corrections.false == yard.tally.corrections.found == 0


def test_the_same_seed_is_the_same_site_and_luck() -> None:
    settings = SimulationSettings(days=20, bins=20)
    one, two, other = (left_alone(settings, seed) for seed in (4, 4, 5))
    assert one.tally.days == two.tally.days
    assert (one.world.truth_s == two.world.truth_s).all()
    assert one.tally.days != other.tally.days


def test_luck_does_not_depend_on_how_often_things_go_wrong() -> None:
    few, many = (
        draw(SimulationSettings(days=9, bins=6, errors=errors), 0) for errors in (NO_ERRORS, Errors(pick_bin=0.5))
    )
    assert (few.picks_ds == many.picks_ds).all()
    assert (few.pick_luck_dsk == many.pick_luck_dsk).all()
    assert (few.photo_dbk == many.photo_dbk).all()


def test_classes_are_by_turnover() -> None:
    site = draw(SimulationSettings(days=7, bins=300), 0).site
    turnover_s = site.rate_s * site.value_s
    share = [turnover_s[site.class_s == place].sum() / turnover_s.sum() for place in range(len(CLASSES))]
    assert share == pytest.approx([0.8, 0.15, 0.05], abs=0.02)
    assert turnover_s[site.class_s == 0].min() > turnover_s[site.class_s == 1].max()
