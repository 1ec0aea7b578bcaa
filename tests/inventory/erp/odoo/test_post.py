"""Corrections reach a server of Odoo's contract exactly once, whatever is lost on the way."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from bintally.errors import ErpAccessError
from bintally.inventory.erp.odoo.rpc import Rpc
from bintally.inventory.ledger import Ledger
from tests.inventory.erp.desks import EVENING, SKU, states
from tests.inventory.erp.odoo.contract import WIZARD, OdooContract
from tests.inventory.erp.posted import posted_in_rounds
from tests.inventory.worlds import HOUR, World

CREATE, APPLY, WRITE = (f"{WIZARD}.{method}" for method in ("create", "action_apply", "write"))


@pytest.fixture
def odoo() -> Iterator[OdooContract]:
    with OdooContract().serving() as server:
        server.product(SKU)
        for code in ("A-1", "A-2", "A-3"):
            server.location(code)
            server.put(code, SKU, 4)
        yield server


@pytest.mark.parametrize("call", [CREATE, APPLY])
@pytest.mark.parametrize("fault", ["before", "after", "twice"])
def test_each_correction_is_posted_once(file_ledger: Ledger, odoo: OdooContract, call: str, fault: str) -> None:
    odoo.faults = [(call, fault)]
    reports = posted_in_rounds(file_ledger, odoo.connector, bins=("A-1", "A-2", "A-3"))
    assert odoo.faults == []
    assert sorted(odoo.moves()) == [(code, SKU, -1.0) for code in ("A-1", "A-2", "A-3")]
    assert set(states(file_ledger)) == {("adjust", "posted")}
    assert reports[-1].why == ""


@pytest.mark.parametrize("call", [CREATE, APPLY])
@pytest.mark.parametrize("fault", ["silent", "late"])
def test_what_nobody_hears_of_is_found_or_comes_too_late(
    file_ledger: Ledger, odoo: OdooContract, call: str, fault: str
) -> None:
    odoo.faults = [(call, fault)]
    posted_in_rounds(file_ledger, lambda: odoo.connector(timeout_s=1.0))
    odoo.deliver()
    assert odoo.moves() == [("A-1", SKU, -1.0)]
    assert odoo.held("A-1") == {SKU: 3}
    assert states(file_ledger) == [("adjust", "posted")]


def test_a_draft_that_can_not_be_taken_back_at_once_is_taken_back_later(
    file_ledger: Ledger, odoo: OdooContract
) -> None:
    odoo.faults = [(CREATE, "after"), (WRITE, "after"), (WRITE, "before")]
    posted_in_rounds(file_ledger, odoo.connector)
    assert odoo.moves() == [("A-1", SKU, -1.0)]


def test_what_is_picked_at_the_last_moment_and_recorded_is_reckoned_in(file_ledger: Ledger, odoo: OdooContract) -> None:
    """Odoo calls the count outdated; the next round starts from what is there."""

    def recorded(world: World) -> None:
        world.movement(world.bin("A-1"), -1, at=EVENING - HOUR, product_id=world.product(SKU, value=1.0))

    odoo.faults = [(APPLY, lambda: odoo.pick("A-1", SKU, 1))]
    reports = posted_in_rounds(file_ledger, odoo.connector, prepare=recorded)
    assert (reports[0].posted, reports[1].posted) == (0, 1)
    assert odoo.moves() == [("A-1", SKU, -1.0)]
    assert odoo.held("A-1") == {SKU: 2}


def test_what_is_picked_and_not_recorded_is_for_a_person(file_ledger: Ledger, odoo: OdooContract) -> None:
    odoo.faults = [(APPLY, lambda: odoo.pick("A-1", SKU, 1))]
    reports = posted_in_rounds(file_ledger, odoo.connector)
    assert sum(report.stale for report in reports) == 1
    assert odoo.moves() == []
    assert not any(quant["inventory_quantity_set"] for quant in odoo.tables["stock.quant"].values())


def test_what_odoo_refuses_is_for_a_person(file_ledger: Ledger, odoo: OdooContract) -> None:
    odoo.count_by_hand("A-1", SKU, 5)
    (report, *_) = posted_in_rounds(file_ledger, odoo.connector, bins=("A-1", "A-2"))
    assert (report.refused, report.posted) == (1, 1)
    assert odoo.moves() == [("A-2", SKU, -1.0)]


def test_json_2_does_the_same(file_ledger: Ledger) -> None:
    with OdooContract("19.0").serving() as odoo:
        odoo.product(SKU)
        odoo.location("A-1")
        odoo.put("A-1", SKU, 4)
        odoo.faults = [(APPLY, "after")]
        settings: dict[str, Any] = {"api": "json2"}
        posted_in_rounds(file_ledger, lambda: odoo.connector(**settings))
        assert odoo.moves() == [("A-1", SKU, -1.0)]


def posted_through_faults(ledger: Ledger, odoo: OdooContract, seed: int, *, faults: int) -> None:
    """Three corrections, while one call after the other fails in one way or the other."""
    rng = random.Random(seed)
    calls, ways = (CREATE, APPLY, WRITE), ("before", "after", "twice")
    odoo.faults = [(rng.choice(calls), rng.choice(ways)) for _ in range(faults)]
    posted_in_rounds(ledger, odoo.connector, bins=("A-1", "A-2", "A-3"), rounds=2 * faults + 2)
    assert sorted(odoo.moves()) == [(code, SKU, -1.0) for code in ("A-1", "A-2", "A-3")]
    assert set(states(ledger)) == {("adjust", "posted")}


@pytest.mark.parametrize("seed", range(2))
def test_one_failure_after_the_other_posts_each_once(file_ledger: Ledger, odoo: OdooContract, seed: int) -> None:
    posted_through_faults(file_ledger, odoo, seed, faults=4)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 27))
def test_many_failures_post_each_once(file_ledger: Ledger, odoo: OdooContract, seed: int) -> None:
    posted_through_faults(file_ledger, odoo, seed, faults=10)


@pytest.mark.parametrize("call", ["create", "call"])
def test_a_foreign_page_answered_to_one_call_is_no_answer_to_a_posting(
    file_ledger: Ledger, odoo: OdooContract, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    whole, asked = getattr(Rpc, call), []

    def behind_a_firewall(self: Rpc, model: str, *arguments: Any, **named: Any) -> Any:
        if call == "create" or "action_apply" in arguments:
            asked.append(model)
            if len(asked) == 1:
                raise ErpAccessError("What answers is no Odoo (HTTP 403).")
        return whole(self, model, *arguments, **named)

    monkeypatch.setattr(Rpc, call, behind_a_firewall)
    posted_in_rounds(file_ledger, odoo.connector, bins=("A-1", "A-2", "A-3"))
    assert set(states(file_ledger)) == {("adjust", "posted")}
    assert sorted(odoo.moves()) == [(code, SKU, -1.0) for code in ("A-1", "A-2", "A-3")]
