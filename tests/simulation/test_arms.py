"""Each way of control, where what it must come to is known."""

from pathlib import Path

import msgspec
import pytest

from bintally.database import audit
from bintally.inventory.judging.how import How
from bintally.inventory.ledger import Ledger
from bintally.simulation.settings import ARMS, ArmName, SimulationSettings
from bintally.simulation.site import live
from bintally.simulation.tally import ArmResult, capacity
from tests.simulation.banks import blind, certain
from tests.simulation.sites import NO_ERRORS, changed

PERFECT = {"counts_per_100_bins": 100.0, "wrong_counts": 0.0}
ROUNDS = {"rounds_per_100_bins": 100.0}


def lived(arm: ArmName, settings: SimulationSettings, how: How, folder: Path, *, seed: int = 0) -> ArmResult:
    folder.mkdir(parents=True, exist_ok=True)
    return live(arm, seed, settings, how, certain(how.card), folder=folder)


@pytest.mark.parametrize("arm", ARMS)
def test_where_nothing_goes_wrong_nothing_is_made_wrong(
    arm: ArmName, small: SimulationSettings, how: How, tmp_path: Path
) -> None:
    stock = {**small.stock.model_dump(), "wrong_at_start": 0.0}
    settings = changed(small, errors=NO_ERRORS, stock=stock, people={**PERFECT, "counts_per_100_bins": 20.0})
    told = lived(arm, settings, how, tmp_path)
    assert set(told.days.right_bins) == {1.0}
    assert msgspec.to_builtins(told.corrections) == {"found": 0, "nearer": 0, "false": 0, "by_pickers": 0}
    assert sum(told.days.escaped) == 0


@pytest.mark.parametrize("arm", ["bintally", "single", "hand"])
def test_right_records_are_made_wrong_only_by_people(
    arm: ArmName, small: SimulationSettings, how: How, tmp_path: Path
) -> None:
    stock = {**small.stock.model_dump(), "wrong_at_start": 0.0, "counted_at_start": False}
    people = {"counts_per_100_bins": 100.0, "wrong_counts": 1.0}
    told = lived(arm, changed(small, errors=NO_ERRORS, stock=stock, people=people), how, tmp_path)
    corrections = told.corrections
    assert corrections.false <= sum(told.days.counts)
    assert (corrections.false > 0) == (sum(told.days.counts) > 0)


@pytest.mark.parametrize("arm", ["bintally", "single"])
def test_a_model_that_sees_everything_keeps_records_right(
    arm: ArmName, small: SimulationSettings, how: How, tmp_path: Path
) -> None:
    """Where photos can see all errors the evening before, and people have the time."""
    stock = {**small.stock.model_dump(), "two_products": 0.0, "most_par": 4}
    errors = {**small.errors.model_dump(), "pick_bin": 0.0, "stow_bin": 0.0, "loss_per_item_day": 0.0}
    settings = changed(small, stock=stock, errors=errors, people=PERFECT, robots=ROUNDS)
    told = lived(arm, settings, how, tmp_path)
    assert min(told.days.right_bins[1:]) > 0.999
    assert told.corrections.found > 5
    assert told.corrections.false == 0


def test_the_whole_system_posts_each_correction_once(small: SimulationSettings, how: How, tmp_path: Path) -> None:
    told = lived("bintally", small, how, tmp_path)
    books = told.told
    corrected = told.corrections.found + told.corrections.nearer + told.corrections.false
    assert books["postings, posted"] == books["postings carried out"] > 0
    assert corrected >= books["postings, posted"]  # a posting may have two products
    assert books["postings carried out twice"] == books["audit logs that are broken"] == 0
    with Ledger.open(tmp_path) as ledger, ledger.read() as connection:
        verified = audit.verify(connection)
    assert verified.is_whole
    assert verified.lines == books["lines of the audit log"]


def test_photos_that_tell_nothing_find_nothing(small: SimulationSettings, how: How, tmp_path: Path) -> None:
    seen, unseen = (
        live("single", 0, small, how, bank, folder=tmp_path).corrections.found
        for bank in (certain(how.card), blind(how.card))
    )
    assert seen > unseen


def test_all_arms_meet_the_same_luck(small: SimulationSettings, how: How, tmp_path: Path) -> None:
    """Until somebody corrects a record, all sites are one."""
    settings = changed(small, people={"counts_per_100_bins": 0.0})
    told = [lived(arm, settings, how, tmp_path / arm) for arm in ARMS]
    assert len({msgspec.json.encode(each.truth) for each in told}) == 1
    assert len({tuple(each.days.right_bins) for each in told}) == 1
    assert told[0].days.photos == told[1].days.photos


def test_the_calendar_counts_as_often_as_it_says(small: SimulationSettings, how: How, tmp_path: Path) -> None:
    settings = changed(small, days=365, bins=60, people={"counts_per_100_bins": 50.0})
    told = live("calendar", 0, settings, how, certain(how.card), folder=tmp_path)
    assert 60 <= sum(told.days.counts) <= 4 * 60
    by_hand = live("hand", 0, settings, how, certain(how.card), folder=tmp_path)
    assert sum(by_hand.days.counts) == 365 * 30


def test_parts_of_a_count_add_up_over_days() -> None:
    assert [capacity(day, 0.4) for day in range(5)] == [0, 0, 1, 0, 1]
    assert sum(capacity(day, 2.5) for day in range(10)) == 25
