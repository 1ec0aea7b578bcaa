"""Postings that wait for a person: tried again, given up, or counted anew; by whom is written down."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from bintally.database import audit
from bintally.errors import AccessError, ConflictError, UsageError
from bintally.inventory import schema
from bintally.inventory.erp import dead_letters
from bintally.inventory.erp.protocol import Line, Stock
from bintally.inventory.erp.pull import pull
from bintally.inventory.erp.rehearsal import rehearse
from bintally.inventory.erp.status import show, statuses
from bintally.inventory.ledger import Ledger
from bintally.inventory.review.decisions import decide
from bintally.inventory.review.leases import take
from tests.inventory.erp.desks import EVENING, SKU, connected, corrected, posted, states, undone
from tests.inventory.erp.notebook import Notebook
from tests.inventory.worlds import HOUR, World

NIGHT = EVENING + 3 * HOUR


class Yard:
    """A bin whose correction of 4 to 3 is stale: the stock system says 7."""

    def __init__(self, ledger: Ledger, erp: Notebook) -> None:
        self.ledger, self.erp = ledger, erp
        with ledger.write() as connection:
            self.world = World.new(connection)
            self.to = connected(ledger, self.world)
            self.told = corrected(self.world, "A-1")
        erp.put("A-1", **{SKU: 7})
        assert posted(ledger, self.to, erp).stale == 1
        self.anna, self.rita = self.world.people["anna"], self.world.people["rita"]
        [self.letter] = self.letters()

    def letters(self) -> list[dead_letters.DeadLetter]:
        with self.ledger.read() as connection:
            return dead_letters.dead_letters(connection)

    def given_up(self) -> None:
        """Nobody knows what became of it."""
        with self.ledger.write() as connection:
            connection.execute(update(schema.Posting).values(state="refused", failed=3))

    def actions(self) -> list[tuple[str, str]]:
        with self.ledger.read() as connection:
            return [(each.actor, each.action) for each in audit.entries(connection) if each.action.startswith("erp.")]


@pytest.fixture
def yard(file_ledger: Ledger, erp: Notebook) -> Yard:
    return Yard(file_ledger, erp)


def test_it_says_what_it_found_and_what_it_holds_up(yard: Yard) -> None:
    letter = yard.letter
    assert (letter.bin, letter.state, letter.lines, letter.behind) == ("A-1", "stale", (Line(SKU, 4, 3),), 0)
    assert "7 there, counted against 4" in letter.reason
    assert letter.since == EVENING
    assert letter.is_known


def test_tried_again_it_goes_out_once_it_fits(yard: Yard) -> None:
    yard.erp.put("A-1", **{SKU: 4})
    with yard.ledger.write() as connection:
        dead_letters.retry(connection, yard.letter.id, by=yard.anna, at=NIGHT, note="mended there")
    assert posted(yard.ledger, yard.to, yard.erp, at=3 * HOUR).posted == 1
    assert yard.actions() == [("bintally", "erp.stale"), ("anna", "erp.retry"), ("bintally", "erp.posted")]


def test_given_up_it_is_not_told_and_undoing_it_tells_nothing(yard: Yard) -> None:
    with yard.ledger.write() as connection:
        dead_letters.drop(connection, yard.letter.id, by=yard.anna, reason="corrected there", at=NIGHT)
    undone(yard.ledger, yard.world, yard.told)
    posted(yard.ledger, yard.to, yard.erp, at=3 * HOUR)
    assert states(yard.ledger) == [("adjust", "dropped")]
    assert ("anna", "erp.drop") in yard.actions()
    assert yard.erp.moves() == []


def test_only_an_approver_may_and_only_what_waits_for_one(yard: Yard) -> None:
    with yard.ledger.write() as connection:
        with pytest.raises(AccessError):
            dead_letters.retry(connection, yard.letter.id, by=yard.rita, at=NIGHT)
        with pytest.raises(AccessError):
            dead_letters.drop(connection, yard.letter.id, by=yard.rita, reason="no", at=NIGHT)
        with pytest.raises(UsageError, match="without a reason"):
            dead_letters.drop(connection, yard.letter.id, by=yard.anna, reason=" ", at=NIGHT)
        with pytest.raises(UsageError, match="no posting 99"):
            dead_letters.retry(connection, 99, by=yard.anna, at=NIGHT)
        dead_letters.retry(connection, yard.letter.id, by=yard.anna, at=NIGHT)
        with pytest.raises(ConflictError, match="is waiting"):
            dead_letters.retry(connection, yard.letter.id, by=yard.anna, at=NIGHT)


def test_what_nobody_knows_the_fate_of_is_given_up_only_on_purpose(yard: Yard) -> None:
    yard.given_up()
    [letter] = yard.letters()
    assert not letter.is_known
    with yard.ledger.write() as connection:
        with pytest.raises(ConflictError, match="Nobody knows"):
            dead_letters.drop(connection, letter.id, by=yard.anna, reason="gone", at=NIGHT)
        dead_letters.drop(connection, letter.id, by=yard.anna, reason="gone", at=NIGHT, anyway=True)
    assert states(yard.ledger) == [("adjust", "dropped")]


def test_undoing_what_nobody_knows_the_fate_of_takes_it_back_where_it_was_posted(yard: Yard) -> None:
    # It was once cancelled as if it had not been posted.
    yard.erp.put("A-1", **{SKU: 4})
    with yard.ledger.write() as connection:
        dead_letters.retry(connection, yard.letter.id, by=yard.anna, at=NIGHT)
    yard.erp.faults = [("commit", "after")]
    posted(yard.ledger, yard.to, yard.erp, at=3 * HOUR)
    yard.given_up()
    undone(yard.ledger, yard.world, yard.told)
    posted(yard.ledger, yard.to, yard.erp, at=4 * HOUR)
    assert states(yard.ledger) == [("adjust", "refused"), ("reverse", "waiting")]
    with yard.ledger.write() as connection:
        dead_letters.retry(connection, yard.letter.id, by=yard.anna, at=NIGHT)
    posted(yard.ledger, yard.to, yard.erp, at=5 * HOUR)
    posted(yard.ledger, yard.to, yard.erp, at=6 * HOUR)
    assert yard.erp.moves() == [("A-1", SKU, -1), ("A-1", SKU, 1)]


def test_counted_anew_the_bin_is_held_against_what_the_stock_system_says(yard: Yard) -> None:
    with yard.ledger.write() as connection:
        stock = Stock(bin="A-1", lines={SKU: 7}, as_of=NIGHT)
        told = dead_letters.recount(connection, yard.letter.id, by=yard.anna, at=NIGHT, to=yard.to, stock=stock)
    assert told.record_id is not None
    assert told.dropped == (yard.letter.id,)
    at = NIGHT + HOUR
    rosa = yard.world.people["rosa"]
    with yard.ledger.write() as connection:
        leased = take(connection, rosa, yard.world.site, at=at, review_id=told.review_id)
        assert leased is not None
        assert leased.review.blind
        with pytest.raises(ConflictError, match="Count it at the bin"):  # not by the photo, which is older
            decide(
                connection, review_id=told.review_id, person=rosa, token=leased.token, kind="correct", count=3, at=at
            )
        decide(
            connection, review_id=told.review_id, person=rosa, token=leased.token, kind="correct", count=3,
            counted_at=at, at=at,
        )  # fmt: skip
    rolf = yard.world.people["rolf"]
    with yard.ledger.write() as connection:  # blind counts off the record need a second one
        leased = take(connection, rolf, yard.world.site, at=at)
        assert leased is not None
        decide(
            connection, review_id=leased.review.review_id, person=rolf, token=leased.token, kind="correct", count=3,
            counted_at=at, at=at,
        )  # fmt: skip
    assert posted(yard.ledger, yard.to, yard.erp, at=5 * HOUR).posted == 1
    assert yard.erp.moves() == [("A-1", SKU, -4)]


def test_what_was_given_up_comes_back_with_the_next_pull(yard: Yard) -> None:
    with yard.ledger.write() as connection:
        dead_letters.drop(connection, yard.letter.id, by=yard.anna, reason="count it tomorrow", at=NIGHT)
    report = pull(yard.ledger, yard.to, yard.erp, clock=lambda: NIGHT)
    assert [(each.before, each.after) for each in report.changed] == [(3, 7)]


def test_the_state_says_who_has_to_act(yard: Yard) -> None:
    def state() -> tuple[int, int, int, bool]:
        with yard.ledger.read() as connection:
            [found] = statuses(connection, at=NIGHT)
        return found.unheard, found.waiting, found.dead, found.needs_person

    assert state() == (0, 0, 1, True)
    with yard.ledger.write() as connection:
        dead_letters.retry(connection, yard.letter.id, by=yard.anna, at=NIGHT)
        yard.world.connection = connection
        corrected(yard.world, "A-2")
    assert state() == (1, 1, 0, True), "they have waited for long"
    yard.erp.put("A-1", **{SKU: 4})
    yard.erp.put("A-2", **{SKU: 4})
    posted(yard.ledger, yard.to, yard.erp, at=3 * HOUR)
    with yard.ledger.read() as connection:
        [found] = statuses(connection, at=NIGHT)
    assert (found.counts, found.last_posted, found.oldest) == ({"posted": 2}, NIGHT, None)
    with yard.ledger.write() as connection:
        connection.execute(update(schema.ErpConnection).values(away_since=NIGHT - timedelta(hours=2)))
    assert state() == (0, 0, 0, True), "it has been away for long"


def test_what_nobody_has_posted_for_an_hour_needs_a_person(file_ledger: Ledger) -> None:
    with file_ledger.write() as connection:
        world = World.new(connection)
        connected(file_ledger, world)
        corrected(world, "A-1")
    with file_ledger.read() as connection:
        stood = connection.execute(select(schema.Adjustment.settled_at)).scalar_one()
        assert stood is not None
        [soon], [late] = (statuses(connection, at=stood + wait) for wait in (HOUR / 2, HOUR))
    assert (soon.oldest, soon.needs_person, late.needs_person) == (stood, False, True)


def test_a_posting_is_shown_with_all_its_steps(yard: Yard) -> None:
    with yard.ledger.read() as connection:
        found = show(connection, str(yard.letter.id))
        assert show(connection, found.posting.key) == found
        with pytest.raises(UsageError):
            show(connection, "nothing")
    assert [step.step for step in found.steps] == ["made", "begun", "stale"]


def test_a_rehearsal_says_what_would_be_and_writes_nothing(yard: Yard) -> None:
    with yard.ledger.write() as connection:
        yard.world.connection = connection
        for code in ("A-2", "A-3", "A-4"):
            corrected(yard.world, code)
    yard.erp.put("A-2", **{SKU: 4})
    yard.erp.put("A-3", **{SKU: 9})
    yard.erp.put("A-4", **{SKU: 4})

    def rows() -> list[object]:
        with yard.ledger.read() as connection:
            tables = (schema.Posting, schema.PostingStep, schema.ErpConnection)
            return [connection.execute(select(table.__table__)).all() for table in tables]

    before = rows()
    told = rehearse(yard.ledger, yard.to, yard.erp, clock=lambda: NIGHT)
    assert [(each.bin, each.would) for each in told] == [("A-2", "posted"), ("A-3", "stale"), ("A-4", "posted")]
    assert rows() == before
    assert yard.erp.moves() == []
    assert set(yard.erp.calls[-3:]) == {"about", "find", "read"}
