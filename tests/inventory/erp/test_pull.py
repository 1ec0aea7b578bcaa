"""What a stock system says becomes versions of records; corrections that it does not know of are never overwritten."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from bintally.errors import ErpUnavailableError, UsageError
from bintally.inventory import schema
from bintally.inventory.erp.connections import ErpConnection
from bintally.inventory.erp.pull import PullReport, pull
from bintally.inventory.erp.quantities import stock_of
from bintally.inventory.intake import lines_of, record_as_of
from bintally.inventory.ledger import Ledger
from tests.inventory.erp.desks import EVENING, SKU, connected, corrected, posted, states
from tests.inventory.erp.notebook import Notebook
from tests.inventory.review.desks import decided, opened
from tests.inventory.worlds import HOUR, World


class Yard:
    """A site with a stock system; its clock stands in the evening until it is moved on."""

    def __init__(self, ledger: Ledger, erp: Notebook) -> None:
        self.ledger, self.erp, self.at = ledger, erp, EVENING
        erp.clock = lambda: self.at
        with ledger.write() as connection:
            self.world = World.new(connection)
            self.to: ErpConnection = connected(ledger, self.world)
            for sku in ("bolt", "nut", SKU):
                self.world.product(sku, value=1.0)
            for code in ("A-1", "A-2"):
                self.world.bin(code)

    def pull(self, **how: object) -> PullReport:
        return pull(self.ledger, self.to, self.erp, clock=lambda: self.at, **how)  # type: ignore[arg-type]

    def record(self, code: str) -> tuple[int, dict[str, int], str] | None:
        with self.ledger.read() as connection:
            bin_id = connection.execute(select(schema.Bin.id).where(schema.Bin.code == code)).scalar_one()
            found = record_as_of(connection, bin_id, datetime.max.replace(tzinfo=EVENING.tzinfo, year=2998))
            return None if found is None else (found.quantity, lines_of(connection, found.id), found.source)


@pytest.fixture
def yard(file_ledger: Ledger, erp: Notebook) -> Yard:
    return Yard(file_ledger, erp)


def changed(report: PullReport) -> list[tuple[str, int | None, int]]:
    return [(each.bin, each.before, each.after) for each in report.changed]


def test_what_it_says_is_a_new_version_and_said_again_none(ledger: Ledger, erp: Notebook) -> None:
    yard = Yard(ledger, erp)
    erp.put("A-1", bolt=3, nut=2)
    erp.put("A-2", bolt=7)
    assert changed(yard.pull()) == [("A-1", None, 5), ("A-2", None, 7)]
    assert yard.record("A-1") == (5, {"bolt": 3, "nut": 2}, "notebook")
    yard.at += HOUR
    again = yard.pull()
    assert (changed(again), again.same) == ([], 2)
    erp.put("A-1", bolt=2, nut=3)
    assert changed(yard.pull()) == [("A-1", 5, 5)], "as many, but others"


def test_a_bin_that_it_does_not_tell_of_any_more_is_empty(yard: Yard) -> None:
    yard.erp.put("A-1", bolt=3)
    yard.erp.put("A-2", bolt=3)
    yard.pull(bins=["A-1"])
    yard.erp.forget("A-1")
    yard.at += HOUR
    assert sorted(changed(yard.pull())) == [("A-1", 3, 0), ("A-2", None, 3)]
    yard.erp.forget("A-2")
    assert changed(yard.pull()) == [], "a stock system that tells nothing at all is not believed"


def test_a_correction_that_waits_is_not_overwritten(yard: Yard) -> None:
    with yard.ledger.write() as connection:
        yard.world.connection = connection
        corrected(yard.world, "A-1")
    yard.erp.put("A-1", **{SKU: 4})
    unheard = yard.pull()
    assert (unheard.waiting, changed(unheard)) == (("A-1",), [])
    yard.erp.faults = [("commit", "before")]
    posted(yard.ledger, yard.to, yard.erp)
    assert yard.pull().waiting == ("A-1",)
    yard.at += HOUR
    posted(yard.ledger, yard.to, yard.erp, at=HOUR)
    report = yard.pull()
    assert (report.waiting, report.same) == ((), 1)


def test_a_correction_that_waits_for_a_second_person_is_not_overwritten(yard: Yard) -> None:
    with yard.ledger.write() as connection:
        yard.world.connection = connection
        review = opened(yard.world, yard.world.judged("A-9", count=1, value=500.0))
        assert review is not None
        decided(yard.world, review, "rita", "correct", 1)
    yard.erp.put("A-9", **{"B-500.0": 4})
    assert yard.pull().waiting == ("A-9",)


def test_a_correction_that_is_posted_while_it_is_read_is_not_overwritten(yard: Yard) -> None:
    # What was read before the posting would have brought the old record back.
    with yard.ledger.write() as connection:
        yard.world.connection = connection
        corrected(yard.world, "A-1")
    yard.erp.put("A-1", **{SKU: 4})
    inner, relay = yard.erp.read, Notebook(yard.erp.path)

    def read(bins: list[str] | None = None) -> object:
        told = list(inner(bins))
        posted(yard.ledger, yard.to, relay)
        return iter(told)

    yard.erp.read = read  # type: ignore[assignment, method-assign]
    report = yard.pull()
    assert states(yard.ledger) == [("adjust", "posted")]
    assert (report.waiting, changed(report)) == (("A-1",), [])
    assert yard.record("A-1") == (3, {SKU: 3}, "review")


def test_unknown_bins_and_products_are_told_and_the_rest_goes_in(yard: Yard) -> None:
    yard.erp.put("A-1", bolt=3)
    yard.erp.put("A-2", screw=1)
    yard.erp.put("B-1", bolt=1)
    yard.erp.put("A-3", bolt=-2)
    report = yard.pull()
    assert changed(report) == [("A-1", None, 3)]
    why = {each.bin: each.why for each in report.rejected}
    assert set(why) == {"A-2", "A-3", "B-1"}
    assert "has no product 'screw'" in why["A-2"]
    assert "has no bin 'B-1'" in why["B-1"]
    assert changed(yard.pull(create_bins=True)) == [("B-1", None, 1)]


def test_a_dry_run_changes_nothing(yard: Yard) -> None:
    yard.erp.put("A-1", bolt=3)
    yard.erp.put("B-1", bolt=1)
    report = yard.pull(dry_run=True, create_bins=True)
    assert len(changed(report)) == 2
    assert yard.record("A-1") is None
    with yard.ledger.read() as connection:
        assert connection.execute(select(schema.Bin.id).where(schema.Bin.code == "B-1")).first() is None
        assert connection.execute(select(schema.ErpConnection.reached_at)).scalar_one() is None


@pytest.mark.parametrize("off", [timedelta(days=-900), timedelta(days=900)])
def test_a_stock_system_whose_clock_is_wrong_is_believed_now(yard: Yard, off: timedelta) -> None:
    yard.erp.put("A-1", bolt=3)
    yard.pull()
    yard.at += HOUR
    yard.erp.put("A-1", bolt=9)
    yard.erp.clock = lambda: yard.at + off
    yard.pull()
    assert yard.record("A-1") == (9, {"bolt": 9}, "notebook")
    assert changed(yard.pull()) == []


def test_what_it_said_before_can_be_said_again(yard: Yard) -> None:
    versions: Callable[[], str] = iter(["v1", "v2", "v1"]).__next__
    inner = yard.erp._read

    def read(bins: object) -> object:
        version = versions()
        return [
            each.__class__(bin=each.bin, lines=each.lines, as_of=each.as_of, version=version) for each in inner(None)
        ]

    yard.erp._read = read  # type: ignore[assignment, method-assign]
    for quantity in (3, 2, 3):
        yard.erp.put("A-1", bolt=quantity)
        yard.at += HOUR
        assert len(yard.pull().changed) == 1
    assert yard.record("A-1") == (3, {"bolt": 3}, "notebook")


def test_one_that_is_away_or_tells_nothing_changes_nothing(yard: Yard) -> None:
    yard.erp.faults = [("read", "before")]
    with pytest.raises(ErpUnavailableError):
        yard.pull()
    yard.erp.reads = False
    with pytest.raises(UsageError, match="does not tell what it holds"):
        yard.pull()


def test_a_bin_with_half_an_item_stops_no_other(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    half = stock_of("Notebook", "A-1", [("bolt", 2.5), ("nut", 1)], as_of=EVENING)
    whole = stock_of("Notebook", "A-2", [("bolt", 3.0)], as_of=EVENING)
    monkeypatch.setattr(yard.erp, "read", lambda _bins=None: iter([half, whole]))
    report = yard.pull()
    assert changed(report) == [("A-2", None, 3)]
    assert [(each.bin, "2.5 of bolt" in each.why) for each in report.rejected] == [("A-1", True)]
    with yard.ledger.write() as connection:
        yard.world.connection = connection
        corrected(yard.world, "A-1")
        corrected(yard.world, "A-2", lines={"bolt": 3}, counted={"bolt": 2})
    yard.erp.put("A-2", bolt=3)
    posted(yard.ledger, yard.to, yard.erp)
    assert yard.erp.moves() == [("A-2", "bolt", -1)]
    assert states(yard.ledger) == [("adjust", "refused"), ("adjust", "posted")]
