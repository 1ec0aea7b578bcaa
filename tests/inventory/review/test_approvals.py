"""Two people for what is worth much, and the way back."""

import pytest

from bintally.database import audit
from bintally.errors import AccessError, ConflictError, UsageError
from bintally.inventory import schema
from bintally.inventory.ledger import Ledger
from bintally.inventory.policy.settings import PolicySettings
from bintally.inventory.review.approvals import approve, proposed, reject
from bintally.inventory.review.decisions import Decided
from bintally.inventory.review.leases import take
from bintally.inventory.review.undo import last_of, undo
from tests.inventory.review.desks import NOON, column, decided, opened, record_now
from tests.inventory.worlds import HOUR, MINUTE, Case, World

DEAR = 200.0


def _asked(world: World, person: str = "rita") -> tuple[Case, Decided]:
    case = world.judged("A-1", recorded=4, value=DEAR)
    review = opened(world, case)
    assert review is not None
    told = decided(world, review, person, "correct", 3, note="one is missing")
    assert told.state == "waiting"
    return case, told


def test_a_dear_correction_changes_nothing_until_somebody_else_approves(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case, told = _asked(world, "anna")
        assert column(connection, schema.Adjustment, "state") == ["proposed"]
        assert record_now(world, case.bin_id)[0] == 4
        assert column(connection, schema.Label, "id") == []
        [waits] = proposed(connection, world.site)
        assert (waits.by, waits.note, waits.review.recorded_count) == ("anna", "one is missing", 4)
        assert waits.asked.changes[0].value == -DEAR
        with pytest.raises(AccessError, match="rita is a reviewer"):
            approve(connection, review_id=told.review_id, person=world.people["rita"], at=NOON)
        with pytest.raises(AccessError, match="a second person must say yes"):
            approve(connection, review_id=told.review_id, person=world.people["anna"], at=NOON)
        done = approve(connection, review_id=told.review_id, person=world.people["alex"], at=NOON + HOUR)
        again = approve(connection, review_id=told.review_id, person=world.people["alex"], at=NOON + HOUR)
        assert (done.is_new, again.is_new, again.decision_id) == (True, False, done.decision_id)
        assert column(connection, schema.Adjustment, "approved_by_id") == [world.people["alex"].id]
        assert column(connection, schema.Adjustment, "state") == ["approved"]
        assert record_now(world, case.bin_id)[0] == 3
        assert column(connection, schema.Label, "count") == [3]
        assert column(connection, schema.Review, "state") == ["closed"]
        assert list(audit.entries(connection))[-1].action == "review.approve"


def test_what_is_refused_is_counted_again_by_somebody_else_who_does_not_see_the_record(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case, told = _asked(world)
        done = reject(connection, review_id=told.review_id, person=world.people["anna"], note="no", at=NOON)
        assert column(connection, schema.Adjustment, "state") == ["rejected"]
        assert record_now(world, case.bin_id)[0] == 4
        assert take(connection, world.people["rita"], world.site, at=NOON) is None
        taken = take(connection, world.people["rolf"], world.site, at=NOON)
        assert taken is not None
        assert (taken.review.review_id, taken.review.blind) == (done.next_review_id, True)
        with pytest.raises(ConflictError, match="Nothing waits"):
            approve(connection, review_id=told.review_id, person=world.people["anna"], at=NOON)
        with pytest.raises(ConflictError, match="was refused"):
            undo(connection, decision_id=told.decision_id, person=world.people["rita"], at=NOON)


def test_an_approval_of_a_record_that_changed_is_refused(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case, told = _asked(world)
        world.record(case.bin_id, {case.product_ids[0]: 9}, at=case.taken_at - MINUTE)
        with pytest.raises(ConflictError, match="has changed since"):
            approve(connection, review_id=told.review_id, person=world.people["anna"], at=NOON)
        reject(connection, review_id=told.review_id, person=world.people["anna"], at=NOON)


@pytest.mark.parametrize(("limit", "value", "state"), [
    (None, None, "closed"), (100.0, None, "waiting"), (100.0, 99.0, "closed"), (100.0, 100.0, "waiting"),
])  # fmt: skip
def test_what_needs_two_people(ledger: Ledger, limit: float | None, value: float | None, state: str) -> None:
    with ledger.write() as connection:
        world = World.new(connection, settings=PolicySettings(second_approval_above=limit))
        review = opened(world, world.judged("A-1", recorded=4, value=value))
        assert review is not None
        assert decided(world, review, "rita", "correct", 3).state == state


def test_losses_and_gains_are_not_netted(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        review = opened(world, world.judged("A-1", lines={"X": 2, "Y": 2}, value=60.0))
        assert review is not None
        told = decided(world, review, "rita", "correct", lines={"X": 1, "Y": 3})
        assert [change.value for change in told.changes] == [-60.0, 60.0]
        assert told.state == "waiting"


def test_undoing_a_correction_restores_the_record_and_opens_the_review(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1", lines={"X": 1, "Y": 3}, value=2.0)
        review = opened(world, case)
        assert review is not None
        before = record_now(world, case.bin_id)
        told = decided(world, review, "rita", "correct", lines={"X": 1, "Y": 1})
        with pytest.raises(AccessError, match=r"needs an? approver"):
            undo(connection, decision_id=told.decision_id, person=world.people["rolf"], at=NOON)
        assert last_of(connection, world.people["rita"], world.site) == told.decision_id
        back = undo(connection, decision_id=told.decision_id, person=world.people["rita"], at=NOON + HOUR)
        assert (back.kind, back.state) == ("undo", "open")
        assert record_now(world, case.bin_id) == before
        assert len(column(connection, schema.StockRecord, "id")) == 3, "nothing is deleted"
        assert column(connection, schema.Adjustment, "state") == ["undone"]
        assert column(connection, schema.Label, "withdrawn_at") == [NOON + HOUR]
        assert last_of(connection, world.people["rita"], world.site) is None
        same = undo(connection, decision_id=told.decision_id, person=world.people["rita"], at=NOON + HOUR)
        assert (same.is_new, same.decision_id) == (False, back.decision_id)
        with pytest.raises(ConflictError, match="undone already"):
            undo(connection, decision_id=told.decision_id, person=world.people["anna"], at=NOON)
        with pytest.raises(UsageError, match="not 'undo'"):
            undo(connection, decision_id=back.decision_id, person=world.people["rita"], at=NOON)
        again = decided(world, review, "rita", "accept", at=NOON + HOUR)
        assert again.state == "closed"
        assert column(connection, schema.Label, "kind", withdrawn_at=None) == ["confirmed"]


def test_undoing_a_proposal_takes_it_off_the_approvers_list(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case, told = _asked(world)
        undo(connection, decision_id=told.decision_id, person=world.people["rita"], at=NOON)
        assert proposed(connection, world.site) == []
        assert record_now(world, case.bin_id)[0] == 4
        assert column(connection, schema.Adjustment, "state") == ["undone"]


def test_what_an_approver_has_approved_takes_an_approver_to_undo(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case, told = _asked(world)
        approve(connection, review_id=told.review_id, person=world.people["anna"], at=NOON)
        with pytest.raises(AccessError, match=r"needs an? approver"):
            undo(connection, decision_id=told.decision_id, person=world.people["rita"], at=NOON)
        undo(connection, decision_id=told.decision_id, person=world.people["alex"], at=NOON)
        assert record_now(world, case.bin_id)[0] == 4


@pytest.mark.parametrize("kind", ["accept", "correct"])
def test_what_a_later_version_of_the_record_has_settled_stays(ledger: Ledger, kind: str) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1")
        review = opened(world, case)
        assert review is not None
        told = decided(world, review, "rita", kind, 3 if kind == "correct" else None)  # type: ignore[arg-type]
        world.record(case.bin_id, 3, at=NOON + HOUR)
        with pytest.raises(ConflictError, match="is settled"):
            undo(connection, decision_id=told.decision_id, person=world.people["rita"], at=NOON + HOUR)


def test_undoing_a_recount_ends_it_unless_somebody_has_counted(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        review = opened(world, world.judged("A-1"))
        assert review is not None
        told = decided(world, review, "rita", "recount")
        undo(connection, decision_id=told.decision_id, person=world.people["rita"], at=NOON)
        assert column(connection, schema.Review, "state") == ["open", "withdrawn"]
        told = decided(world, review, "rita", "recount")
        assert told.next_review_id is not None
        decided(world, told.next_review_id, "rolf", "correct", 3)
        with pytest.raises(ConflictError, match="Somebody has counted bin A-1 since"):
            undo(connection, decision_id=told.decision_id, person=world.people["rita"], at=NOON)


def test_a_review_whose_bin_has_a_newer_one_is_not_opened_again(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1")
        review = opened(world, case)
        assert review is not None
        told = decided(world, review, "rita", "accept")
        newer = world.judge(
            "A-1", case.bin_id, case.record_id, case.product_ids,
            recorded=4, outcome="mismatch", count=2, taken_at=NOON + HOUR,
        )  # fmt: skip
        assert opened(world, newer, at=NOON + HOUR) is not None
        back = undo(connection, decision_id=told.decision_id, person=world.people["rita"], at=NOON + HOUR)
        assert back.state == "withdrawn"
        assert column(connection, schema.Review, "state") == ["withdrawn", "open"]
