"""What a decision does, all in one transaction, on both databases."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import func, select

from bintally.database import audit
from bintally.errors import AccessError, ConflictError, DataError, UsageError
from bintally.inventory import schema
from bintally.inventory.ledger import Ledger
from bintally.inventory.policy.settings import PolicySettings, ToleranceOfClass, Tolerances
from bintally.inventory.review.decisions import decide
from bintally.inventory.review.leases import take
from bintally.inventory.review.shown import show
from tests.inventory.review.desks import NOON, column, decided, opened, record_now
from tests.inventory.worlds import HOUR, MINUTE, MORNING, World


def test_a_record_that_is_right_is_accepted_and_its_photo_labelled(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1")
        review = opened(world, case)
        assert review is not None
        told = decided(world, review, "rita", "accept", note="looks right")
        assert (told.kind, told.state, told.count, told.changes, told.record_id) == ("accept", "closed", 4, (), None)
        assert record_now(world, case.bin_id)[0] == 4
        row = connection.execute(select(schema.Label.__table__)).one()
        assert (row.kind, row.photo_id, row.decision_id) == ("confirmed", case.photo_id, told.decision_id)
        assert column(connection, schema.Label, "count") == [4]
        line = list(audit.entries(connection, subject="bin:STR1/A-1"))[-1]
        assert (line.actor, line.action, line.body["note"]) == ("rita", "review.accept", "looks right")


def test_a_correction_adjusts_stock_and_corrects_the_record_from_the_photos_moment_on(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1", recorded=4, value=20.0)
        review = opened(world, case)
        assert review is not None
        told = decided(world, review, "rita", "correct", 3)
        assert told.state == "closed"
        [change] = told.changes
        assert (change.product, change.before, change.after, change.value) == ("B-20.0", 4, 3, -20.0)
        row = connection.execute(select(schema.Adjustment.__table__)).one()
        assert (row.state, row.value, row.approved_by_id) == ("approved", Decimal(-20), None)
        assert row.product_id == case.product_ids[0]
        made = connection.execute(
            select(schema.StockRecord.__table__).where(schema.StockRecord.id == told.record_id)
        ).one()
        assert (made.quantity, made.source, made.effective_at) == (3, "review", case.taken_at)
        assert made.received_at == NOON + MINUTE
        assert record_now(world, case.bin_id) == (3, {case.product_ids[0]: 3})
        assert column(connection, schema.Label, "kind") == ["corrected"]


def test_a_total_of_several_products_changes_only_the_total(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        world.product("dear", value=50.0)
        case = world.judged("A-1", lines={"dear": 1, "cheap": 3}, value=2.0)
        review = opened(world, case)
        assert review is not None
        told = decided(world, review, "rita", "correct", 3)
        # Which product is missing is not known, so neither is the money: a second person is asked.
        assert [(each.product, each.before, each.after, each.value) for each in told.changes] == [(None, 4, 3, None)]
        assert told.state == "waiting"


def test_a_correction_by_product_with_the_same_total_is_a_correction(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1", lines={"X": 1, "Y": 3}, value=2.0)
        review = opened(world, case)
        assert review is not None
        told = decided(world, review, "rita", "correct", lines={"X": 2, "Y": 2})
        assert told.kind == "correct"
        assert [(each.product, each.before, each.after) for each in told.changes] == [("X", 1, 2), ("Y", 3, 2)]
        x, y = case.product_ids
        assert record_now(world, case.bin_id) == (4, {x: 2, y: 2})


def test_a_correction_to_what_the_record_says_accepts_it(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        review = opened(world, world.judged("A-1", recorded=4))
        assert review is not None
        told = decided(world, review, "rita", "correct", 4)
        assert (told.kind, told.changes) == ("accept", ())


@pytest.mark.parametrize("kind", ["uncountable", "not_this_bin"])
def test_what_a_photo_can_not_tell_is_a_label_without_a_count(ledger: Ledger, kind: str) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1")
        review = opened(world, case)
        assert review is not None
        told = decided(world, review, "rita", kind)  # type: ignore[arg-type]
        assert (told.kind, told.state, told.count) == (kind, "closed", None)
        assert column(connection, schema.Label, "kind") == [kind]
        assert column(connection, schema.Label, "count") == [None]
        again = world.judge(
            "A-1", case.bin_id, case.record_id, case.product_ids,
            recorded=4, outcome="uncertain", count=3, taken_at=case.taken_at + HOUR,
        )  # fmt: skip
        assert opened(world, again) is not None, "another photo may be looked at"


def test_the_same_decision_delivered_twice_stands_once(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1")
        review = opened(world, case)
        rita = world.people["rita"]
        taken = take(connection, rita, world.site, at=NOON)
        assert taken is not None
        assert taken.review.review_id == review
        said: dict[str, Any] = {"review_id": review, "person": rita, "token": taken.token, "at": NOON}
        first = decide(connection, kind="correct", count=3, **said)
        again = decide(connection, kind="correct", count=3, **said | {"at": NOON + HOUR})
        assert (first.is_new, again.is_new) == (True, False)
        assert again.decision_id == first.decision_id
        assert (again.changes, again.record_id) == (first.changes, first.record_id)
        assert len(column(connection, schema.Adjustment, "id")) == 1
        with pytest.raises(ConflictError, match="otherwise"):
            decide(connection, kind="correct", count=2, **said)
        with pytest.raises(ConflictError, match="otherwise"):
            decide(connection, kind="accept", **said)


def test_only_who_has_the_lease_decides_and_only_while_it_lasts(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        review = opened(world, world.judged("A-1"))
        assert review is not None
        rita, rolf = world.people["rita"], world.people["rolf"]
        taken = take(connection, rita, world.site, at=NOON, minutes=10)
        assert taken is not None
        late = NOON + timedelta(minutes=10)
        with pytest.raises(ConflictError, match="rolf does not have bin A-1"):
            decide(connection, review_id=review, person=rolf, token=taken.token, kind="accept", at=NOON)
        with pytest.raises(ConflictError, match="does not have"):
            decide(connection, review_id=review, person=rita, token="guessed", kind="accept", at=NOON)
        with pytest.raises(ConflictError, match="ran out at 12:10"):
            decide(connection, review_id=review, person=rita, token=taken.token, kind="accept", at=late)
        decided(world, review, "rolf", "accept", at=late)
        with pytest.raises(ConflictError, match="is closed: somebody has decided"):
            decide(connection, review_id=review, person=rita, token=taken.token, kind="accept", at=late)


def test_roles_and_nonsense_are_refused(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1", lines={"X": 1, "Y": 3}, value=2.0)
        review = opened(world, case)
        assert review is not None
        with pytest.raises(AccessError, match="vera is a viewer"):
            take(connection, world.people["vera"], world.site, at=NOON)
        for kind, count, lines, why in (
            ("correct", None, None, "needs a count"),
            ("correct", -1, None, "whole number"),
            ("accept", 3, None, "The record says 4"),
            ("recount", 3, None, "takes no count"),
            ("correct", 5, {"X": 1, "Y": 3}, "add up to 4"),
            ("correct", None, {"X": 1}, "Nothing is said of Y"),
            ("guess", None, None, "no decision"),
        ):
            with pytest.raises(UsageError, match=why):
                decided(world, review, "rita", kind, count, lines=lines, at=NOON)  # type: ignore[arg-type]
            connection.execute(schema.Review.__table__.update().values(lease_until=None))  # type: ignore[attr-defined]
        with pytest.raises(DataError, match="no product 'Z'"):
            decided(world, review, "rita", "correct", lines={"X": 1, "Y": 3, "Z": 1})
        with pytest.raises(UsageError, match="no review 99"):
            decide(connection, review_id=99, person=world.people["rita"], token="", kind="accept")
        assert column(connection, schema.Decision, "id") == []


def test_a_record_that_changed_in_the_meantime_is_not_decided_about(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1")
        review = opened(world, case)
        assert review is not None
        world.record(case.bin_id, {case.product_ids[0]: 6}, at=MORNING + MINUTE, received_at=NOON)
        with pytest.raises(ConflictError, match="has changed since it was judged"):
            decided(world, review, "rita", "accept")


def test_a_count_at_the_bin_holds_from_then_on_and_labels_no_photo_from_before_a_pick(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1")
        review = opened(world, case)
        assert review is not None
        world.movement(case.bin_id, -1, at=case.taken_at + MINUTE)
        told = decided(world, review, "rita", "correct", 2, counted_at=NOON)
        made = schema.StockRecord
        assert column(connection, made, "effective_at", id=told.record_id) == [NOON]
        assert column(connection, schema.Label, "id") == []
        assert column(connection, schema.Decision, "counted_at") == [NOON]


def test_a_count_at_the_bin_labels_the_photo_where_nothing_moved(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        review = opened(world, world.judged("A-1"))
        assert review is not None
        decided(world, review, "rita", "correct", 2, counted_at=NOON)
        assert column(connection, schema.Label, "count") == [2]
        other = opened(world, world.judged("A-2"))
        assert other is not None
        with pytest.raises(UsageError, match="future"):
            decided(world, other, "rita", "correct", 2, counted_at=NOON + HOUR)


def test_who_counts_blind_is_shown_neither_record_nor_verdict_and_learns_neither(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1", outcome="match", count=4, blind=True)
        review = opened(world, case)
        assert review is not None
        shown = show(connection, review)
        assert shown.blind
        assert (shown.recorded_count, shown.verdict, shown.worth) == (None, None, None)
        assert [(item.recorded_count, item.unit_value) for item in shown.items] == [(None, None)]
        assert [item.sku for item in shown.items] == ["B-10.0"]
        with pytest.raises(UsageError, match="needs your count"):
            decided(world, review, "rita", "accept")
        right = decided(world, review, "rita", "correct", 4, at=NOON + HOUR)
        assert (right.kind, right.state, right.changes) == ("count", "closed", ())
        assert column(connection, schema.Decision, "kind") == ["accept"]
        other = opened(world, world.judged("A-2", outcome="match", count=4, blind=True))
        assert other is not None
        wrong = decided(world, other, "rita", "correct", 3)
        assert (wrong.kind, wrong.state, wrong.next_review_id) == ("count", "closed", None)


def test_two_blind_counts_that_agree_settle_it(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1", outcome="match", count=4, blind=True, value=1000.0)
        review = opened(world, case)
        assert review is not None
        decided(world, review, "rita", "correct", 3)
        [second] = column(connection, schema.Review, "id", state="open")
        assert column(connection, schema.Review, "reason", state="open") == ["recount"]
        assert take(connection, world.people["rita"], world.site, at=NOON) is None, "she has counted it"
        assert record_now(world, case.bin_id)[0] == 4
        assert column(connection, schema.Label, "id") == []
        decided(world, second, "rolf", "correct", 3)  # type: ignore[arg-type]
        assert column(connection, schema.Decision, "kind") == ["count", "correct"]
        assert column(connection, schema.Adjustment, "state") == ["approved"], "two people have said so already"
        assert record_now(world, case.bin_id)[0] == 3
        assert column(connection, schema.Review, "state") == ["closed", "closed"]
        assert column(connection, schema.Review, "propensity") == [0.02, 0.02]


def test_two_blind_counts_that_disagree_are_for_an_approver_who_has_not_counted(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1", outcome="match", count=4, blind=True)
        first = opened(world, case)
        assert first is not None
        decided(world, first, "rita", "correct", 3)
        [second] = column(connection, schema.Review, "id", state="open")
        decided(world, second, "anna", "correct", 4 + 1)  # type: ignore[arg-type]
        [third] = column(connection, schema.Review, "id", state="open")
        shown = show(connection, third)  # type: ignore[arg-type]
        assert (shown.reason, shown.blind, shown.counts, shown.recorded_count) == ("disagreed", False, (3, 5), 4)
        for person in ("rita", "rolf", "anna"):
            assert take(connection, world.people[person], world.site, at=NOON) is None
        told = decided(world, third, "alex", "accept")  # type: ignore[arg-type]
        assert told.state == "closed"
        assert column(connection, schema.Label, "count") == [4]
        assert column(connection, schema.Decision, "kind") == ["count", "count", "accept"]


def test_a_recount_is_for_somebody_who_has_not_decided_and_blind(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        review = opened(world, world.judged("A-1"))
        assert review is not None
        told = decided(world, review, "rita", "recount")
        assert told.next_review_id is not None
        assert take(connection, world.people["rita"], world.site, at=NOON) is None
        assert show(connection, told.next_review_id).blind
        decided(world, told.next_review_id, "rolf", "correct", 4)
        assert column(connection, schema.Decision, "kind") == ["recount", "accept"]
        assert column(connection, schema.Review, "state") == ["closed", "closed"]


def test_a_blind_count_within_tolerance_lets_the_record_stand(ledger: Ledger) -> None:
    with ledger.write() as connection:
        settings = PolicySettings(tolerance=Tolerances(B=ToleranceOfClass(units=1)))
        world = World.new(connection, settings=settings)
        review = opened(world, world.judged("A-1", outcome="match", count=4, blind=True))
        assert review is not None
        decided(world, review, "rita", "correct", 3)
        assert column(connection, schema.Decision, "kind") == ["accept"]
        assert column(connection, schema.Decision, "count") == [3]
        assert column(connection, schema.Label, "count") == [3]


def test_every_decision_has_its_line_and_the_chain_is_whole(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        for number in range(5):
            review = opened(world, world.judged(f"A-{number}"))
            assert review is not None
            decided(world, review, "rita", "correct", number)
    with ledger.read() as connection:
        made = connection.execute(select(func.count()).select_from(schema.Decision)).scalar_one()
        lines = [line for line in audit.entries(connection) if line.action.startswith("review.")]
        assert made == len(lines) == 5
        assert audit.verify(connection).is_whole
