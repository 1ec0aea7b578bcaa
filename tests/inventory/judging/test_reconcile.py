"""`reconcile_ledger` does what there is to do, once, whoever else does it at the same time."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bintally.database import audit
from bintally.errors import UsageError
from bintally.inventory import schema
from bintally.inventory.judging.how import How
from bintally.inventory.judging.reconcile import ReconcileReport, reconcile_ledger
from bintally.inventory.ledger import Ledger, add_site
from tests.databases import new_ledger
from tests.inventory.judging.yard import Yard


def filled(yard: Yard, bins: int) -> None:
    for number in range(bins):
        yard.record(f"A{number}", number % 5)
        yard.photo(f"A{number}", (number + number // 5) % 5, at=1)
        if number % 3 == 0:
            yard.photo(f"A{number}", number % 5, at=2)


def state(yard: Yard) -> dict[str, list[object]]:
    tables = (schema.Estimate, schema.Comparison, schema.Belief, schema.Verdict, schema.Review, schema.Judged)
    return {table.__tablename__: yard.rows(table) for table in tables}


def test_a_second_run_does_nothing(yard: Yard) -> None:
    filled(yard, 12)
    first = yard.reconcile()
    assert (first.bins, first.photos, first.pairs, first.verdicts) == (12, 16, 4, 12)
    assert first.reviews == len(yard.rows(schema.Review)) > 0
    before = state(yard)
    second = yard.reconcile()
    assert (second.bins, second.photos, second.pairs, second.verdicts, second.reviews) == (0, 0, 0, 0, 0)
    assert state(yard) == before


def test_only_bins_with_new_facts_are_judged_again(yard: Yard) -> None:
    filled(yard, 6)
    yard.reconcile()
    yard.move("A1", 1, at=3)
    yard.photo("A4", 2, at=3)
    report = yard.reconcile()
    assert (report.bins, report.photos, report.pairs) == (2, 1, 1)
    assert len(yard.verdicts("A1")) == len(yard.verdicts("A4")) == 2
    assert len(yard.verdicts("A0")) == 1


def test_it_can_be_asked_for_some_bins(yard: Yard) -> None:
    filled(yard, 4)
    assert yard.reconcile(bins=["A2", "A1"]).bins == 2
    assert [bool(yard.verdicts(f"A{number}")) for number in range(4)] == [False, True, True, False]
    assert yard.reconcile().bins == 2


def test_the_audit_log_tells_what_was_done_and_is_whole(yard: Yard) -> None:
    filled(yard, 6)
    report = yard.reconcile()
    with yard.ledger.read() as connection:
        told = [entry for entry in audit.entries(connection) if entry.action == "reconcile"]
        assert audit.verify(connection).is_whole
    assert [entry.body["verdicts"] for entry in told] == [report.outcomes]
    assert told[0].body["reviews"] == report.reviews
    assert told[0].subject == "site:STR1"


def test_several_at_once_do_everything_once(yard: Yard, place: str) -> None:
    filled(yard, 24)
    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(lambda _: _reconciled(place, yard.how), range(3)))
    assert sum(report.verdicts for report in reports) == 24
    assert len(yard.rows(schema.Estimate)) == len(yard.rows(schema.Photo))
    assert len(yard.rows(schema.Belief)) == len(yard.rows(schema.Verdict)) == 24
    assert sum(report.reviews for report in reports) == len(yard.rows(schema.Review))
    with yard.ledger.read() as connection:
        assert audit.verify(connection).is_whole


def test_all_sites_are_done_unless_one_is_named(yard: Yard) -> None:
    filled(yard, 1)
    with yard.ledger.write() as connection:
        other = add_site(connection, code="STR2")
    second = Yard(yard.ledger, other, yard.how, yard.folder)
    second.photo("B", 2, at=1)
    assert (yard.reconcile(site="STR2").sites, yard.reconcile(site="STR2").bins) == (("STR2",), 0)
    report = yard.reconcile()
    assert (report.sites, report.bins) == (("STR1", "STR2"), 1)


def test_it_opens_a_ledger_by_its_place(yard: Yard, place: str) -> None:
    filled(yard, 2)
    assert reconcile_ledger(ledger=place, bundle=yard.how.bundle.folder).bins == 2


def test_files_of_settings_may_be_named_by_text(yard: Yard, tmp_path: Path) -> None:
    """Once a path as text, which every other verb takes, ended with an AttributeError."""
    bundle, path = yard.how.bundle.folder, str(tmp_path / "settings.toml")
    Path(path).write_text("")
    assert reconcile_ledger(ledger=yard.ledger, bundle=bundle, policy=path, follow=path).bins == 0


def test_no_ledger_and_no_site_are_clear_errors(how: How, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no ledger"):
        reconcile_ledger(ledger=tmp_path / "none.sqlite", bundle=how.bundle.folder)
    with new_ledger(tmp_path / "empty.sqlite") as ledger, pytest.raises(UsageError, match="no site yet"):
        reconcile_ledger(ledger=ledger, bundle=how.bundle.folder)


def _reconciled(place: str, how: How) -> ReconcileReport:
    with Ledger.open(place) as ledger:
        return reconcile_ledger(ledger=ledger, bundle=how.bundle.folder, policy=how.policy, follow=how.follow)
