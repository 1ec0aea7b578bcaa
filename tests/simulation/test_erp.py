"""The simulated stock system keeps the promises of a connector."""

from datetime import UTC, datetime

import numpy as np
import pytest

from bintally.inventory.erp.protocol import Line, Posting
from bintally.simulation.erp import SimulatedErp, bin_code, bin_number, sku, slot_number

MORNING = datetime(2026, 1, 5, 6, tzinfo=UTC)


@pytest.fixture
def told() -> list[tuple[int, int, int]]:
    return []


@pytest.fixture
def erp(told: list[tuple[int, int, int]]) -> SimulatedErp:
    """Two bins, the second with two products."""
    return SimulatedErp(np.array([0, 1, 1]), np.array([3, 2, 5]), MORNING, adjusted=lambda *each: told.append(each))


def posting(key: str, slot: int, before: int, after: int) -> Posting:
    return Posting(
        key=key, kind="adjust", site="SIM", bin=bin_code(1), lines=(Line(sku(slot), before, after),),
        counted_at=MORNING, by="rita",
    )  # fmt: skip


def test_a_draft_changes_nothing_and_is_carried_out_once(erp: SimulatedErp, told: list[tuple[int, int, int]]) -> None:
    drafts = erp.prepare([posting("a", 2, 5, 4)])
    assert erp.on_hand_s.tolist() == [3, 2, 5]
    assert erp.find(["a", "b"]) == drafts
    first, again = (erp.commit([drafts["a"]])["a"] for _ in range(2))
    assert (first.outcome, first.reference) == (again.outcome, again.reference) == ("done", drafts["a"].reference)
    assert erp.on_hand_s.tolist() == [3, 2, 4]
    assert told == [(2, 5, 4)]
    assert erp.commits == {"a": 1}
    assert erp.find(["a"])["a"].fate == "done"


def test_what_has_moved_since_is_stale(erp: SimulatedErp) -> None:
    draft = erp.prepare([posting("a", 2, 5, 4)])["a"]
    erp.book(2, -1, MORNING)
    assert erp.commit([draft])["a"].outcome == "stale"
    erp.cancel([draft])
    assert erp.find(["a"]) == {}
    assert erp.on_hand_s.tolist() == [3, 2, 4]


def test_it_tells_what_it_holds_and_what_has_changed(erp: SimulatedErp) -> None:
    assert erp.changed() == []
    erp.book(1, 2, MORNING)
    erp.set(0, 3, MORNING)  # no change
    assert erp.changed() == [bin_code(1)]
    assert erp.changed() == []
    stock = {each.bin: each for each in erp.read()}
    assert stock[bin_code(1)].lines == {sku(1): 4, sku(2): 5}
    assert [each.quantity for each in erp.read([bin_code(0)])] == [3]


def test_codes_are_read_as_they_are_written() -> None:
    for number in (0, 4, 5, 99, 100, 12_345):
        assert bin_number(bin_code(number)) == number
        assert slot_number(sku(number)) == number
    assert [bin_code(number) for number in (0, 99, 100)] == ["01-01-A", "01-20-E", "02-01-A"]
