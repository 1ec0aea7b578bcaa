"""Each correction reaches the stock system exactly once, in order, whatever fails."""

from datetime import timedelta
from itertools import product as combinations

import pytest

from bintally.errors import ErpUnavailableError
from bintally.inventory.ledger import Ledger
from bintally.inventory.review.undo import undo
from tests.inventory.erp.desks import EVENING, SKU, connected, corrected, posted, states
from tests.inventory.erp.notebook import Notebook
from tests.inventory.worlds import HOUR, World

CALLS = ("find", "read", "prepare", "commit", "cancel")


def test_a_correction_is_posted_once(ledger: Ledger, erp: Notebook) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        to = connected(ledger, world)
        corrected(world, "A-1")
    erp.put("A-1", **{SKU: 4})
    assert posted(ledger, to, erp).posted == 1
    again = posted(ledger, to, erp, at=HOUR)
    assert (again.made, again.posted) == (0, 0)
    assert erp.moves() == [("A-1", SKU, -1)]
    assert erp.held("A-1") == {SKU: 3}


@pytest.mark.parametrize(("call", "when"), list(combinations(CALLS, ("before", "after"))))
def test_a_call_that_fails_or_does_not_answer_is_made_up_for(
    file_ledger: Ledger, erp: Notebook, call: str, when: str
) -> None:
    ledger = file_ledger
    with ledger.write() as connection:
        world = World.new(connection)
        to = connected(ledger, world)
        corrected(world, "A-1")
    erp.put("A-1", **{SKU: 4})
    erp.faults = [("prepare", "after"), (call, when)]  # a draft is left over, and then that
    for hour in range(4):
        posted(ledger, to, erp, at=hour * HOUR)
    assert erp.faults == []
    assert erp.moves() == [("A-1", SKU, -1)]
    assert states(ledger) == [("adjust", "posted")]


def test_an_answer_that_was_lost_is_found(ledger: Ledger, erp: Notebook) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        to = connected(ledger, world)
        corrected(world, "A-1")
    erp.put("A-1", **{SKU: 4})
    erp.faults = [("commit", "after")]
    assert posted(ledger, to, erp).failed == 1
    erp.put("A-1", **{SKU: 2})  # and somebody picks one
    assert posted(ledger, to, erp, at=HOUR).posted == 1
    assert erp.moves() == [("A-1", SKU, -1)]


def test_a_stock_system_that_is_away_costs_nothing(ledger: Ledger, erp: Notebook) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        to = connected(ledger, world)
        corrected(world, "A-1")
    erp.put("A-1", **{SKU: 4})
    erp.faults = [("about", "before")] * 3
    for hour in range(3):
        with pytest.raises(ErpUnavailableError):
            posted(ledger, to, erp, at=hour * HOUR)
    assert posted(ledger, to, erp, at=4 * HOUR).posted == 1


def test_a_correction_of_other_stock_is_stale_and_later_ones_of_the_bin_wait(ledger: Ledger, erp: Notebook) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        to = connected(ledger, world)
        corrected(world, "A-1")
        corrected(world, "A-2")
    erp.put("A-1", **{SKU: 7})
    erp.put("A-2", **{SKU: 4})
    report = posted(ledger, to, erp)
    assert (report.stale, report.posted) == (1, 1)
    assert erp.moves() == [("A-2", SKU, -1)]


def test_what_was_picked_since_is_reckoned_in(ledger: Ledger, erp: Notebook) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        to = connected(ledger, world)
        corrected(world, "A-1")
        bin_id, sku_id = world.bin("A-1"), world.product(SKU, value=1.0)
        world.movement(bin_id, -1, at=EVENING - HOUR, product_id=sku_id)
    erp.put("A-1", **{SKU: 3})
    assert posted(ledger, to, erp).posted == 1
    assert erp.held("A-1") == {SKU: 2}


@pytest.mark.parametrize("is_posted", [True, False])
def test_an_undone_correction_is_taken_back_or_never_posted(ledger: Ledger, erp: Notebook, is_posted: bool) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        to = connected(ledger, world)
        told = corrected(world, "A-1")
    erp.put("A-1", **{SKU: 4})
    if is_posted:
        posted(ledger, to, erp)
    with ledger.write() as connection:
        undo(connection, decision_id=told.decision_id, person=world.people["rita"], at=EVENING + HOUR)
    posted(ledger, to, erp, at=timedelta(hours=2))
    assert erp.held("A-1") == {SKU: 4}
    assert erp.moves() == ([("A-1", SKU, -1), ("A-1", SKU, 1)] if is_posted else [])
