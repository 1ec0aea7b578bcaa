"""Photos in the ledger are looked at once, alone and beside their neighbours; what can't be read stops nothing."""

import json
from pathlib import Path

import msgspec
import pytest

from bintally.database.audit import AuditLine
from bintally.errors import DataError
from bintally.inventory import schema
from bintally.records import CountEstimate
from tests.inventory.judging.yard import DARK, Yard


def test_unreadable_and_missing_photos_get_an_estimate_with_an_error_and_the_rest_goes_on(yard: Yard) -> None:
    for code in "ABC":
        yard.record(code, 3)
    yard.photo("A", 3, at=1)
    yard.photo("B", 3, at=1, data=DARK)
    missing = yard.photo("C", 3, at=1)
    Path(next(row.place for row in yard.rows(schema.Photo) if row.id == missing)).unlink()
    report = yard.reconcile()
    told = [CountEstimate.from_json(row.body) for row in yard.rows(schema.Estimate)]
    assert (report.photos, report.unreadable) == (3, 2)
    assert [each.count for each in told] == [3, None, None]
    assert "not a photo" in str(told[1].error)
    assert "no photo" in str(told[2].error)
    assert yard.reconcile().photos == 0


def test_an_estimate_is_kept_with_the_mix_it_is_for_and_without_how_long_it_took(yard: Yard) -> None:
    yard.photo("A", 4, at=1)
    yard.reconcile()
    [row] = yard.rows(schema.Estimate)
    told = CountEstimate.from_json(row.body)
    assert told.timings is None
    assert json.loads(row.prior) == yard.how.card.target_prior
    assert row.model_sha256 == yard.how.card.model_sha256
    assert sum(told.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_a_photo_that_comes_late_is_compared_with_both_its_neighbours(yard: Yard) -> None:
    first, third = yard.photo("A", 2, at=1), yard.photo("A", 4, at=3)
    assert yard.reconcile().pairs == 1
    second = yard.photo("A", 3, at=2)
    assert yard.reconcile().pairs == 2
    pairs = {(row.earlier_id, row.later_id) for row in yard.rows(schema.Comparison)}
    assert pairs == {(first, third), (first, second), (second, third)}


def test_photos_that_tell_nothing_part_no_pair(yard: Yard) -> None:
    first = yard.photo("A", 2, at=1)
    yard.photo("A", 2, at=2, data=DARK)
    third = yard.photo("A", 2, at=3)
    yard.reconcile()
    assert [(row.earlier_id, row.later_id) for row in yard.rows(schema.Comparison)] == [(first, third)]


def test_each_batch_is_told_in_the_audit_log(yard: Yard) -> None:
    yard.photo("A", 2, at=1)
    yard.photo("A", 2, at=2)
    yard.reconcile()
    told = {row.action: msgspec.json.decode(row.body) for row in yard.rows(AuditLine)}
    assert told["look"]["photos"] == 2
    assert told["compare"]["photos"] == 1


def test_a_bin_that_is_not_there_is_an_error(yard: Yard) -> None:
    yard.record("A-1", 3)
    with pytest.raises(DataError, match=r"no bin 'A-2'.*'A-1'"):
        yard.reconcile(bins=["A-2"])
