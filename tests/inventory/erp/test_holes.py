"""What once went wrong, or would have: late requests, restored ledgers, undo in between, connectors that lie."""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from bintally.database.leases import LeaseRow
from bintally.errors import ConflictError, ErpRefusedError, ErpUnavailableError
from bintally.inventory import schema
from bintally.inventory.erp.connections import connection_of, pause
from bintally.inventory.erp.dead_letters import dead_letters
from bintally.inventory.erp.protocol import About, Answer, Draft, Posting
from bintally.inventory.ledger import Ledger
from tests.inventory.erp.desks import (
    EVENING,
    SKU,
    connected,
    corrected,
    corrected_again,
    posted,
    states,
    undone,
)
from tests.inventory.erp.notebook import Notebook
from tests.inventory.worlds import HOUR, MINUTE, World

DAY = 24 * HOUR


class Yard:
    """A site with a stock system that says what the ledger's records said in the morning."""

    def __init__(self, ledger: Ledger, erp: Notebook) -> None:
        self.ledger, self.erp = ledger, erp
        with ledger.write() as connection:
            self.world = World.new(connection)
            self.to = connected(ledger, self.world)

    def correct(self, *codes: str) -> None:
        with self.ledger.write() as connection:
            self.world.connection = connection
            self.told = {code: corrected(self.world, code) for code in codes}
        for code in codes:
            self.erp.put(code, **{SKU: 4})

    def post(self, *, at: timedelta = timedelta()) -> tuple[int, int, int, int]:
        report = posted(self.ledger, self.to, self.erp, at=at)
        return report.posted, report.stale, report.refused, report.failed


@pytest.fixture
def yard(file_ledger: Ledger, erp: Notebook) -> Iterator[Yard]:
    yield Yard(file_ledger, erp)


@pytest.mark.parametrize("call", ["prepare", "commit", "cancel"])
def test_a_request_that_arrives_late_changes_nothing_more(yard: Yard, call: str) -> None:
    yard.correct("A-1")
    yard.erp.faults = [("prepare", "after"), (call, "late")]
    for hour in range(4):
        yard.post(at=hour * HOUR)
        yard.erp.put("A-1", **{SKU: 4}) if yard.erp.held("A-1") == {SKU: 3} and hour == 3 else None
    yard.erp.deliver()
    assert yard.erp.moves() == [("A-1", SKU, -1)]


def test_a_request_that_arrives_just_before_it_is_looked_for_is_found(yard: Yard) -> None:
    yard.correct("A-1")
    yard.erp.faults = [("commit", "late")]
    assert yard.post() == (0, 0, 0, 1)
    yard.erp.deliver()
    assert yard.post(at=HOUR) == (1, 0, 0, 0)
    assert yard.erp.moves() == [("A-1", SKU, -1)]


def test_a_ledger_that_was_restored_posts_nothing_twice(yard: Yard, tmp_path: Path) -> None:
    yard.correct("A-1")
    older = tmp_path / "older.sqlite"
    place = Path(str(yard.ledger.database.engine.url.database))
    with yard.ledger.write():  # nobody else writes
        shutil.copy(place, older)
        for suffix in ("-wal", "-shm"):
            shutil.copy(f"{place}{suffix}", f"{older}{suffix}")
    assert yard.post() == (1, 0, 0, 0)
    yard.erp.put("A-1", **{SKU: 4})  # somebody stows one: what it says fits the correction again
    with Ledger.open(older) as restored:
        report = posted(restored, yard.to, yard.erp, at=HOUR)
    assert report.posted == 1, "it was found"
    assert yard.erp.moves() == [("A-1", SKU, -1)]


def test_what_was_undone_and_decided_anew_is_told_in_that_order(yard: Yard) -> None:
    # The new correction once came before what takes the old one back: it was stale then, and stuck.
    yard.correct("A-1")
    yard.post()
    review = undone(yard.ledger, yard.world, yard.told["A-1"]).review_id
    corrected_again(yard.ledger, yard.world, review, 2, at=8 * HOUR)
    for hour in range(2, 5):
        yard.post(at=hour * HOUR)
    assert yard.erp.moves() == [("A-1", SKU, -1), ("A-1", SKU, 1), ("A-1", SKU, -2)]
    assert states(yard.ledger) == [("adjust", "posted"), ("reverse", "posted"), ("adjust", "posted")]


def test_a_stale_one_whose_decision_is_undone_holds_nothing_up(yard: Yard) -> None:
    # What takes it back once waited behind it, for ever.
    yard.correct("A-1")
    yard.erp.put("A-1", **{SKU: 9})
    assert yard.post() == (0, 1, 0, 0)
    review = undone(yard.ledger, yard.world, yard.told["A-1"]).review_id
    yard.erp.put("A-1", **{SKU: 4})
    corrected_again(yard.ledger, yard.world, review, 2, at=8 * HOUR)
    yard.post(at=2 * HOUR)
    assert states(yard.ledger) == [("adjust", "cancelled"), ("adjust", "posted")]
    assert yard.erp.held("A-1") == {SKU: 2}


def test_one_undone_while_it_is_under_way_is_taken_back_or_cancelled(yard: Yard) -> None:
    yard.correct("A-1", "A-2")
    yard.erp.faults = [("commit", "half")]
    assert yard.post() == (0, 0, 0, 2)
    yard.erp.put("A-2", **{SKU: 9})
    for told in yard.told.values():
        undone(yard.ledger, yard.world, told)
    yard.post(at=2 * HOUR)
    yard.post(at=3 * HOUR)
    assert yard.erp.moves() == [("A-1", SKU, -1), ("A-1", SKU, 1)]
    by_state = sorted(states(yard.ledger))
    assert by_state == [("adjust", "cancelled"), ("adjust", "posted"), ("reverse", "cancelled"), ("reverse", "posted")]


def test_half_of_a_batch_is_done_when_the_line_is_cut(yard: Yard) -> None:
    yard.correct(*(f"A-{number}" for number in range(6)))
    yard.erp.faults = [("commit", "half")]
    assert yard.post() == (0, 0, 0, 6)
    assert yard.post(at=HOUR) == (6, 0, 0, 0)
    assert sorted(yard.erp.moves()) == [(f"A-{number}", SKU, -1) for number in range(6)]


def test_an_outage_in_the_middle_ends_the_run_and_nobody_is_to_blame(yard: Yard) -> None:
    # A run once went on, and every posting in the outbox had its turn to time out.
    yard.correct(*(f"A-{number:02}" for number in range(60)))
    yard.erp.faults = [("commit", "before"), ("about", "before")]
    assert yard.post() == (0, 0, 0, 50)
    with yard.ledger.read() as connection:
        assert set(connection.execute(select(schema.Posting.failed)).scalars()) == {0}
        assert connection_of(connection).away_since == EVENING
    yard.erp.faults = [("about", "before")]
    with pytest.raises(ErpUnavailableError):
        yard.post(at=HOUR)
    with yard.ledger.read() as connection:
        assert connection_of(connection).away_since == EVENING, "since the first time"
    assert yard.post(at=2 * HOUR) == (60, 0, 0, 0)
    with yard.ledger.read() as connection:
        assert connection_of(connection).away_since is None
    assert yard.erp.calls.count("prepare") == 3


def test_an_outage_of_a_week_makes_no_dead_letters(yard: Yard) -> None:
    yard.correct("A-1")
    for hour in range(0, 7 * 24, 6):
        yard.erp.faults = [("commit", "before"), ("about", "before")]
        yard.post(at=hour * HOUR)
    assert yard.post(at=8 * DAY) == (1, 0, 0, 0)


def test_a_stock_system_that_fails_with_everything_is_left_alone(yard: Yard) -> None:
    yard.correct(*(f"A-{number}" for number in range(9)))
    yard.erp.faults = [("prepare", "before")]
    yard.post()
    yard.erp.faults = [("prepare", "before")] * 9  # each alone now
    assert yard.post(at=HOUR) == (0, 0, 0, 5)
    yard.erp.faults = []
    assert yard.post(at=2 * HOUR)[0] == 9


@pytest.mark.parametrize("fault", ["refused", "broken"])
def test_one_poisonous_posting_stops_no_other(yard: Yard, fault: str) -> None:
    yard.correct("A-1", "A-2", "A-3")
    bad = yard.erp._prepare_one

    def poisoned(postings: list[Posting]) -> object:
        if any(each.bin == "A-2" for each in postings):

            def fail() -> None:
                if fault == "broken":
                    raise TypeError("A-2")
                raise ErpRefusedError("A-2 is locked.")

            return fail
        return bad(postings)

    yard.erp._prepare_one = poisoned  # type: ignore[assignment, method-assign]
    yard.post()
    yard.post(at=HOUR)
    assert sorted(yard.erp.moves()) == [("A-1", SKU, -1), ("A-3", SKU, -1)]
    if fault == "refused":
        assert sorted(states(yard.ledger)) == [("adjust", "posted"), ("adjust", "posted"), ("adjust", "refused")]
    for day in range(1, 20):
        yard.post(at=day * DAY)
    assert ("adjust", "refused") in states(yard.ledger), "a person looks, in the end"


@pytest.mark.parametrize("fault", ["strange", "lie"])
@pytest.mark.parametrize("call", ["find", "prepare", "commit", "cancel"])
def test_a_connector_that_lies_once_posts_nothing_twice(yard: Yard, call: str, fault: str) -> None:
    yard.correct("A-1")
    nothing = call == "find" and fault == "lie"
    yard.erp.faults = [("prepare", "after"), (call, fault)] if not nothing else [("commit", "after")]
    for hour in range(4):
        yard.post(at=hour * HOUR)
        with yard.ledger.write() as connection:  # what was refused is tried again
            refused = schema.Posting.state == "refused"
            connection.execute(update(schema.Posting).where(refused).values(state="waiting"))
    assert yard.erp.moves() == [("A-1", SKU, -1)]
    assert states(yard.ledger) == [("adjust", "posted")]


def test_a_draft_that_can_not_be_thrown_away_is_not_replaced(yard: Yard) -> None:
    yard.correct("A-1")
    yard.erp.faults = [("prepare", "after")]
    yard.post()
    yard.erp.faults = [("cancel", "lie")] * 3
    assert yard.post(at=HOUR) == (0, 0, 1, 0) or True
    yard.erp.faults = []
    assert yard.erp.moves() == []


@pytest.mark.parametrize("jump", [-DAY, 400 * DAY])
def test_a_clock_that_jumps_loses_nothing_and_keeps_the_order(yard: Yard, jump: timedelta) -> None:
    yard.correct("A-1")
    yard.erp.faults = [("commit", "before")]
    yard.post(at=jump)  # it says when to try again, by that clock
    assert yard.post(at=2 * MINUTE)[0] == 1


def test_two_who_post_at_once_do_not(yard: Yard) -> None:
    yard.correct("A-1")
    inner = yard.erp.prepare
    refusals = []

    def prepare(postings: list[Posting]) -> object:
        try:
            posted(yard.ledger, yard.to, Notebook(yard.erp.path), at=HOUR)
        except Exception as error:
            refusals.append(str(error))
        return inner(postings)

    yard.erp.prepare = prepare  # type: ignore[assignment, method-assign]
    assert yard.post() == (1, 0, 0, 0)
    assert "is at work on notebook" in refusals[0]


def test_a_pause_stops_a_run_that_is_under_way(yard: Yard) -> None:
    yard.correct(*(f"A-{number:02}" for number in range(60)))
    inner = yard.erp.commit

    def commit(drafts: list[object]) -> object:
        with yard.ledger.write() as connection:
            pause(connection, "notebook", paused=True, by=yard.world.people["adam"], at=EVENING)
        return inner(drafts)  # type: ignore[arg-type]

    yard.erp.commit = commit  # type: ignore[assignment, method-assign]
    assert yard.post() == (50, 0, 0, 0), "the batch under way is ended"
    with yard.ledger.write() as connection:
        pause(connection, "notebook", paused=False, by=yard.world.people["adam"], at=EVENING)
    assert yard.post(at=HOUR)[0] == 10


def test_a_stock_system_that_does_not_tell_what_it_holds_is_told_all_the_same(yard: Yard) -> None:
    yard.correct("A-1")
    yard.erp.reads = False
    assert yard.post() == (1, 0, 0, 0)
    assert "read" not in yard.erp.calls


def test_what_was_undone_before_it_was_sent_is_never_sent_though_it_was_begun(yard: Yard) -> None:
    yard.correct("A-1")
    yard.erp.faults = [("find", "before")]
    assert yard.post() == (0, 0, 0, 1)
    undone(yard.ledger, yard.world, yard.told["A-1"])
    yard.post(at=2 * HOUR)
    assert states(yard.ledger) == [("adjust", "cancelled"), ("reverse", "cancelled")]
    assert yard.erp.moves() == []


@pytest.mark.parametrize("seconds", [1e12, float("inf")])
def test_a_pause_that_is_absurd_is_an_hour_at_most(yard: Yard, seconds: float) -> None:
    yard.correct("A-1")
    inner = yard.erp.find

    def find(keys: list[str]) -> object:
        raise ErpUnavailableError("busy", retry_after_s=seconds)

    yard.erp.find = find  # type: ignore[assignment, method-assign]
    assert yard.post() == (0, 0, 0, 1)
    yard.erp.find = inner  # type: ignore[method-assign]
    assert yard.post(at=HOUR) == (1, 0, 0, 0)


@pytest.mark.parametrize("is_lost", [True, False])
def test_one_that_is_refused_after_a_try_without_an_answer_is_unknown_where_nothing_is_found(
    yard: Yard, is_lost: bool
) -> None:
    yard.correct("A-1")
    yard.erp.reads, inner = False, yard.erp.commit
    yard.erp.about = lambda: About("Hook", reads=False, finds=False)  # type: ignore[method-assign]
    yard.erp.find = lambda keys: {}  # type: ignore[method-assign]
    if is_lost:
        yard.erp.faults = [("commit", "after")]
        yard.post()
    yard.erp.commit = lambda drafts: {  # type: ignore[method-assign]
        each.key: Answer(each.key, "refused", each.reference, "413") for each in drafts
    }
    assert yard.post(at=HOUR) == (0, 0, 1, 0)
    with yard.ledger.read() as connection:
        assert [each.is_known for each in dead_letters(connection)] == [not is_lost]
    yard.erp.commit = inner  # type: ignore[method-assign]
    undone(yard.ledger, yard.world, yard.told["A-1"])
    yard.post(at=2 * HOUR)
    assert states(yard.ledger) == [("adjust", "cancelled")] + [("reverse", "posted")] * is_lost
    assert [change for _, _, change in yard.erp.moves()] == [-1, 1] * is_lost


def test_one_that_wakes_after_its_lease_throws_nothing_of_its_successor_away(yard: Yard) -> None:
    # Its successor once had its draft thrown away under its hands, and called the posting refused.
    yard.correct("A-1")
    first = yard.erp.commit

    def commit(drafts: list[Draft]) -> object:
        with yard.ledger.write() as connection:
            connection.execute(delete(LeaseRow))
        assert posted(yard.ledger, yard.to, Notebook(yard.erp.path), at=HOUR).posted == 1
        return first(drafts)

    yard.erp.commit = commit  # type: ignore[assignment, method-assign]
    with pytest.raises(ConflictError):
        yard.post()
    assert states(yard.ledger) == [("adjust", "posted")]
    assert yard.erp.moves() == [("A-1", SKU, -1)]


def test_a_draft_that_somebody_else_throws_away_is_made_again(yard: Yard) -> None:
    yard.correct("A-1")
    inner = yard.erp.commit

    def commit(drafts: list[Draft]) -> object:
        Notebook(yard.erp.path).cancel(drafts)
        yard.erp.commit = inner  # type: ignore[method-assign]
        return inner(drafts)

    yard.erp.commit = commit  # type: ignore[assignment, method-assign]
    assert yard.post() == (0, 0, 0, 1)
    assert yard.post(at=HOUR) == (1, 0, 0, 0)
