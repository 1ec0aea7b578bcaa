"""What was found of records, and what a model may learn from it: only decisions that stand."""

from datetime import timedelta
from pathlib import Path

import msgspec
import polars as pl
import pytest

from bintally.errors import UsageError
from bintally.inventory.ledger import Ledger
from bintally.inventory.policy.rates import rates
from bintally.inventory.policy.settings import PolicySettings, ToleranceOfClass, Tolerances
from bintally.inventory.review.approvals import approve, reject
from bintally.inventory.review.labels import export_labels, labels
from bintally.inventory.review.outcomes import outcomes
from bintally.inventory.review.undo import undo
from tests.inventory.review.desks import NOON, decided, opened
from tests.inventory.worlds import HOUR, World


def test_only_what_stands_is_an_outcome_with_the_chance_it_had(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        right = world.judged("right", abc="A")
        wrong = world.judged("wrong", abc="C")
        checked = world.judged("checked", outcome="match", blind=True, count=4)
        told = {case.code: opened(world, case) for case in (right, wrong, checked)}
        decided(world, told["right"] or 0, "rita", "accept")
        decided(world, told["wrong"] or 0, "rita", "correct", 3)
        decided(world, told["checked"] or 0, "rita", "correct", 4)
        for code in ("undone", "skipped", "proposed", "refused", "blurred"):
            case = world.judged(code, value=500.0 if code in ("proposed", "refused") else 10.0)
            review = opened(world, case)
            assert review is not None
            if code == "undone":
                made = decided(world, review, "rita", "correct", 3)
                undo(connection, decision_id=made.decision_id, person=world.people["rita"], at=NOON)
            elif code in ("proposed", "refused"):
                decided(world, review, "rita", "correct", 3)
            elif code == "blurred":
                decided(world, review, "rita", "uncountable")
            if code == "refused":
                reject(connection, review_id=review, person=world.people["anna"], at=NOON)
        table = outcomes(connection, world.site).sort("bin")
        assert table.select("bin", "abc_class", "wrong", "propensity", "outcome").rows() == [
            (right.bin_id, "A", False, 1.0, "mismatch"),
            (wrong.bin_id, "C", True, 1.0, "mismatch"),
            (checked.bin_id, "B", False, 0.02, "match"),
        ]
        assert table["product"].to_list() == [case.product_ids[0] for case in (right, wrong, checked)]
        later = outcomes(connection, world.site, since=NOON + HOUR)
        assert later.is_empty()
        assert later.schema == table.schema
        assert len(outcomes(connection, world.site, until=NOON + HOUR)) == 3
        found = rates(table.select("abc_class", "product", "bin"), table, PolicySettings())
        assert found["mean"][1] > found["mean"][0], "the policy's rates take the table as it is"


def test_a_record_found_out_twice_counts_once_and_an_approved_correction_counts(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1", value=500.0)
        review = opened(world, case)
        assert review is not None
        decided(world, review, "rita", "correct", 3)
        approve(connection, review_id=review, person=world.people["anna"], at=NOON)
        other = world.judged("A-2")
        world.looked(other)
        again = world.judge(
            "A-2", other.bin_id, other.record_id, other.product_ids,
            recorded=4, outcome="uncertain", count=3, taken_at=NOON,
        )  # fmt: skip
        world.looked(again, kind="correct", count=3)
        assert outcomes(connection, world.site).sort("bin")["wrong"].to_list() == [True, True]


def test_a_recounted_record_still_has_one_product(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1")
        review = opened(world, case)
        assert review is not None
        told = decided(world, review, "rita", "recount")
        decided(world, told.next_review_id or 0, "rolf", "correct", 4)
        table = outcomes(connection, world.site)
        assert table.select("product", "wrong", "propensity").rows() == [(case.product_ids[0], False, 1.0)]


def test_off_within_the_policys_tolerance_is_right_and_by_product_is_wrong(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        settings = PolicySettings(tolerance=Tolerances(B=ToleranceOfClass(units=1)))
        near = opened(world, world.judged("near"))
        mixed = opened(world, world.judged("mixed", lines={"X": 1, "Y": 3}, value=2.0))
        assert near is not None
        assert mixed is not None
        decided(world, near, "rita", "correct", 3)
        decided(world, mixed, "rita", "correct", lines={"X": 2, "Y": 2})
        exact = outcomes(connection, world.site).sort("bin")
        assert exact["wrong"].to_list() == [True, True]
        assert exact["product"].to_list()[1] is None, "several products"
        assert outcomes(connection, world.site, settings=settings).sort("bin")["wrong"].to_list() == [False, True]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_labels_say_where_they_come_from_and_withdrawn_ones_are_left_out(
    ledger: Ledger, tmp_path: Path, suffix: str
) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1", lines={"X": 1, "Y": 3}, value=2.0, count=2)
        review = opened(world, case)
        assert review is not None
        made = decided(world, review, "rita", "correct", lines={"X": 1, "Y": 1}, note="two are gone")
        blurred = opened(world, world.judged("A-2"))
        gone = opened(world, world.judged("A-3"))
        assert blurred is not None
        assert gone is not None
        decided(world, blurred, "rolf", "uncountable")
        back = decided(world, gone, "rita", "accept")
        undo(connection, decision_id=back.decision_id, person=world.people["rita"], at=NOON)
        found = sorted(labels(connection, world.site), key=lambda each: each.bin)
        assert [(each.bin, each.kind, each.count) for each in found] == [
            ("A-1", "corrected", 2), ("A-2", "uncountable", None),
        ]  # fmt: skip
        first = found[0]
        assert (first.person, first.decision_id, first.note) == ("rita", made.decision_id, "two are gone")
        assert (first.lines, first.recorded_count, first.outcome) == ({"X": 1, "Y": 1}, 4, "mismatch")
        assert (first.model, first.model_sha256, first.model_count) == ("tests", "0" * 64, 2)
        assert (first.blind, first.reason, first.taken_at) == (False, "mismatch", case.taken_at)
        assert first.place is not None
        assert first.photo_sha256 in first.place
        out = tmp_path / f"labels{suffix}"
        assert export_labels(connection, world.site, out) == 2
        if suffix == ".parquet":
            rows = pl.read_parquet(out).sort("bin").to_dicts()
        else:
            rows = sorted(map(msgspec.json.decode, out.read_bytes().splitlines()), key=lambda row: str(row["bin"]))
        assert [(row["bin"], row["count"], row["person"]) for row in rows] == [
            ("A-1", 2, "rita"),
            ("A-2", None, "rolf"),
        ]
        assert export_labels(connection, world.site, out, since=NOON + timedelta(days=1)) == 0
        with pytest.raises(UsageError, match=r"can't be written as labels\.csv"):
            export_labels(connection, world.site, tmp_path / "labels.csv")
