"""Corrections reach a server of ERPNext's contract exactly once, whatever is lost on the way."""

import random
from collections.abc import Iterator

import pytest

from bintally.inventory.ledger import Ledger
from tests.inventory.erp.desks import EVENING, SKU, states
from tests.inventory.erp.erpnext.contract import RECONCILIATION, ErpNextContract
from tests.inventory.erp.posted import posted_in_rounds
from tests.inventory.worlds import HOUR, World

POST, PUT, DELETE = (f"{method} {RECONCILIATION}" for method in ("POST", "PUT", "DELETE"))


@pytest.fixture
def erpnext() -> Iterator[ErpNextContract]:
    with ErpNextContract().serving() as server:
        server.item(SKU)
        for code in ("A-1", "A-2", "A-3"):
            server.warehouse(code)
            server.put(code, SKU, 4)
        yield server


@pytest.mark.parametrize("call", [POST, PUT])
@pytest.mark.parametrize("fault", ["before", "after", "twice"])
def test_each_correction_is_posted_once(file_ledger: Ledger, erpnext: ErpNextContract, call: str, fault: str) -> None:
    erpnext.faults = [(call, fault)]
    reports = posted_in_rounds(file_ledger, erpnext.connector, bins=("A-1", "A-2", "A-3"))
    assert erpnext.faults == []
    assert sorted(erpnext.moves()) == [(code, SKU, -1.0) for code in ("A-1", "A-2", "A-3")]
    assert [erpnext.held(code) for code in ("A-1", "A-2", "A-3")] == [{SKU: 3}] * 3
    assert set(states(file_ledger)) == {("adjust", "posted")}
    assert reports[-1].why == ""
    assert [each["docstatus"] for each in erpnext.documents[RECONCILIATION].values()] == [1] * 3


@pytest.mark.parametrize("call", [POST, PUT])
@pytest.mark.parametrize("fault", ["silent", "late"])
def test_what_nobody_hears_of_is_found_or_comes_too_late(
    file_ledger: Ledger, erpnext: ErpNextContract, call: str, fault: str
) -> None:
    erpnext.faults = [(call, fault)]
    posted_in_rounds(file_ledger, lambda: erpnext.connector(timeout_s=1.0))
    assert all(reply.status >= 400 for reply in erpnext.deliver())
    assert erpnext.moves() == [("A-1", SKU, -1.0)]
    assert erpnext.held("A-1") == {SKU: 3}
    assert states(file_ledger) == [("adjust", "posted")]


def test_a_draft_that_can_not_be_deleted_at_once_is_deleted_later(
    file_ledger: Ledger, erpnext: ErpNextContract
) -> None:
    erpnext.faults = [(POST, "after"), (DELETE, "before"), (DELETE, "after")]
    posted_in_rounds(file_ledger, erpnext.connector)
    assert erpnext.faults == []
    assert erpnext.moves() == [("A-1", SKU, -1.0)]


def test_what_is_picked_meanwhile_and_recorded_is_reckoned_in(file_ledger: Ledger, erpnext: ErpNextContract) -> None:
    def recorded(world: World) -> None:
        world.movement(world.bin("A-1"), -1, at=EVENING - HOUR, product_id=world.product(SKU, value=1.0))

    erpnext.pick("A-1", SKU, 1)
    (report, *_) = posted_in_rounds(file_ledger, erpnext.connector, prepare=recorded)
    assert report.posted == 1
    assert erpnext.held("A-1") == {SKU: 2}


def test_what_is_picked_and_not_recorded_is_for_a_person(file_ledger: Ledger, erpnext: ErpNextContract) -> None:
    erpnext.faults = [(POST, lambda: erpnext.pick("A-1", SKU, 2))]
    reports = posted_in_rounds(file_ledger, erpnext.connector)
    assert sum(report.stale for report in reports) == 1
    assert erpnext.moves() == []
    assert erpnext.documents[RECONCILIATION] == {}


def posted_through_faults(ledger: Ledger, erpnext: ErpNextContract, seed: int, *, faults: int) -> None:
    """Three corrections, while one call after the other fails in one way or the other."""
    rng = random.Random(seed)
    calls, ways = (POST, PUT, DELETE), ("before", "after", "twice")
    erpnext.faults = [(rng.choice(calls), rng.choice(ways)) for _ in range(faults)]
    posted_in_rounds(ledger, erpnext.connector, bins=("A-1", "A-2", "A-3"), rounds=2 * faults + 2)
    assert sorted(erpnext.moves()) == [(code, SKU, -1.0) for code in ("A-1", "A-2", "A-3")]
    assert set(states(ledger)) == {("adjust", "posted")}


@pytest.mark.parametrize("seed", range(2))
def test_one_failure_after_the_other_posts_each_once(file_ledger: Ledger, erpnext: ErpNextContract, seed: int) -> None:
    posted_through_faults(file_ledger, erpnext, seed, faults=4)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 27))
def test_many_failures_post_each_once(file_ledger: Ledger, erpnext: ErpNextContract, seed: int) -> None:
    posted_through_faults(file_ledger, erpnext, seed, faults=10)
