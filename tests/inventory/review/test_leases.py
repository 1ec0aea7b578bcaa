"""Two people never do the same bin: one process, several, and whatever order Hypothesis thinks of."""

import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bintally.database import audit
from bintally.errors import AccessError, ConflictError, UsageError
from bintally.inventory import schema
from bintally.inventory.ledger import Ledger
from bintally.inventory.review.decisions import decide
from bintally.inventory.review.leases import (
    OVERDUE,
    Leased,
    for_others,
    give_back,
    held,
    release,
    renew,
    take,
)
from tests.conftest import ROOT
from tests.databases import new_ledger
from tests.inventory.review.desks import NOON, column, opened
from tests.inventory.worlds import HOUR, World

MINUTES = timedelta(minutes=10)


def test_each_bin_is_taken_by_one_person_the_worthiest_first(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        for code, value in (("cheap", 1.0), ("dear", 500.0)):
            opened(world, world.judged(code, value=value), value=value)
        rita, rolf, rosa = (world.people[name] for name in ("rita", "rolf", "rosa"))
        first = take(connection, rita, world.site, at=NOON)
        second = take(connection, rolf, world.site, at=NOON)
        assert first is not None
        assert second is not None
        assert (first.review.bin, second.review.bin) == ("dear", "cheap")
        assert first.review.recorded_count == 4
        assert first.until == NOON + MINUTES
        assert take(connection, rosa, world.site, at=NOON) is None
        assert for_others(connection, rosa, world.site, at=NOON) == 2
        assert give_back(connection, review_id=second.review.review_id, person=rolf, token=second.token)
        assert not give_back(connection, review_id=second.review.review_id, person=rolf, token=second.token)
        assert take(connection, rosa, world.site, at=NOON, skip=[second.review.review_id]) is None
        assert take(connection, rosa, world.site, at=NOON) is not None


def test_a_lease_ends_at_its_moment_and_the_next_one_who_takes_it_is_noted(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        review = opened(world, world.judged("A-1"))
        rita, rolf = world.people["rita"], world.people["rolf"]
        taken = take(connection, rita, world.site, at=NOON)
        assert taken is not None
        said = {"review_id": taken.review.review_id, "person": rita, "token": taken.token}
        until = renew(connection, **said, at=NOON + MINUTES / 2)  # type: ignore[arg-type]
        assert until == NOON + MINUTES * 1.5
        assert take(connection, rolf, world.site, at=NOON + MINUTES) is None
        assert take(connection, rolf, world.site, at=until) is not None
        line = list(audit.entries(connection, subject="bin:STR1/A-1"))[-1]
        assert (line.actor, line.action, line.body["lease"]) == ("rolf", "lease.expire", rita.id)
        with pytest.raises(ConflictError, match="does not have bin A-1"):
            renew(connection, **said, at=until)  # type: ignore[arg-type]
        assert review == taken.review.review_id


def test_an_approver_can_end_a_lease_by_force(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        opened(world, world.judged("A-1"))
        taken = take(connection, world.people["rita"], world.site, at=NOON)
        assert taken is not None
        review = taken.review.review_id
        with pytest.raises(AccessError):
            release(connection, review_id=review, by=world.people["rolf"], at=NOON)
        assert release(connection, review_id=review, by=world.people["anna"], at=NOON)
        assert not release(connection, review_id=review, by=world.people["anna"], at=NOON)
        assert list(audit.entries(connection))[-1].action == "lease.release"
        assert take(connection, world.people["rolf"], world.site, at=NOON) is not None


def test_what_waits_for_too_long_comes_before_all_that_is_worth_more(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        opened(world, world.judged("old", value=1.0), value=1.0, at=NOON)
        later = NOON + OVERDUE
        opened(world, world.judged("dear", value=500.0), value=500.0, at=later)
        taken = take(connection, world.people["rita"], world.site, at=later - HOUR)
        assert taken is not None
        assert taken.review.bin == "dear"
        taken = take(connection, world.people["rolf"], world.site, at=later)
        assert taken is not None
        assert taken.review.bin == "old"


def test_several_processes_share_a_queue_without_doing_anything_twice(ledger: Ledger, place: str) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        reviews = [opened(world, world.judged(f"A-{number}"), at=NOON) for number in range(16)]
    people = ("rita", "rolf")
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.inventory.review.worker", place, name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for name in people
    ]  # fmt: skip
    for worker in workers:
        assert _pipe(worker.stdout).readline() == "ready\n", _pipe(worker.stderr).read()
    for worker in workers:
        _pipe(worker.stdin).write("\n")
        _pipe(worker.stdin).flush()
    told = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], [err for _, err in told]
    done = Counter(int(line) for out, _ in told for line in out.split())
    assert done == Counter(reviews)
    with ledger.read() as connection:
        assert set(column(connection, schema.Review, "state")) == {"closed"}
        assert len(column(connection, schema.Decision, "id")) == len(column(connection, schema.Label, "id")) == 16
        assert audit.verify(connection).is_whole


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


class Leases(RuleBasedStateMachine):
    """People who take, keep, lose and decide reviews while the clock goes on."""

    template: Path

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        shutil.copy(self.template, self.folder / "ledger.sqlite")
        self.ledger = Ledger.open(self.folder)
        self.now: datetime = NOON
        self.bins = 0
        self.decided = 0
        self.mine: dict[int, tuple[str, Leased]] = {}  # by review: who has it, as far as they know
        with self.ledger.write() as connection:
            self.world = World.new(connection)

    def teardown(self) -> None:
        if not hasattr(self, "ledger"):
            return
        self._drain()
        self.ledger.close()
        shutil.rmtree(self.folder)

    @rule(value=st.sampled_from([1.0, 50.0, 500.0]), blind=st.booleans())
    def open(self, value: float, blind: bool) -> None:
        with self.ledger.write() as connection:
            self.world.connection = connection
            case = self.world.judged(
                f"A-{self.bins}", value=value, outcome="match" if blind else "mismatch", blind=blind
            )
            assert opened(self.world, case, value=value, at=self.now) is not None
        self.bins += 1

    @rule(name=st.sampled_from(["rita", "rolf", "anna"]), minutes=st.integers(1, 20))
    def take(self, name: str, minutes: int) -> None:
        with self.ledger.write() as connection:
            site, person = self.world.site, self.world.people[name]
            taken = take(connection, person, site, at=self.now, minutes=minutes)
        if taken is None:
            return
        review = taken.review.review_id
        if review in self.mine:
            assert self.mine[review][1].until <= self.now, "somebody else has it still"
        assert taken.until == self.now + timedelta(minutes=minutes)
        self.mine[review] = (name, taken)

    @rule(minutes=st.integers(0, 15))
    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule(number=st.integers(0, 50), back=st.booleans())
    def end(self, number: int, back: bool) -> None:
        if not self.mine:
            return
        review = sorted(self.mine)[number % len(self.mine)]
        name, taken = self.mine.pop(review)
        person = self.world.people[name]
        with self.ledger.write() as connection:
            if back:
                give_back(connection, review_id=review, person=person, token=taken.token)
            elif taken.until <= self.now:
                with pytest.raises(ConflictError):
                    self._decide(connection, review, person, taken)
            else:
                self._decide(connection, review, person, taken)
                self.decided += 1

    @invariant()
    def nobody_has_what_another_has(self) -> None:
        if not hasattr(self, "ledger"):
            return
        with self.ledger.read() as connection:
            seen: Counter[int] = Counter()
            for name in ("rita", "rolf", "anna"):
                for each in held(connection, self.world.people[name], self.world.site, at=self.now):
                    seen[each.review.review_id] += 1
                    assert self.mine[each.review.review_id][0] == name
                    assert each.until > self.now
            assert all(many == 1 for many in seen.values())
            assert set(seen) == {review for review, (_, taken) in self.mine.items() if taken.until > self.now}

    def _decide(self, connection: object, review: int, person: object, taken: Leased) -> None:
        decide(
            connection, review_id=review, person=person, token=taken.token,  # type: ignore[arg-type]
            kind="correct", count=4, at=self.now,
        )  # fmt: skip

    def _drain(self) -> None:
        """Once all leases have ended, each review that is left is reached: nothing starves."""
        self.now += timedelta(hours=1)
        left = self.bins - self.decided
        for _ in range(left):
            with self.ledger.write() as connection:
                rita, site = self.world.people["rita"], self.world.site
                taken = take(connection, rita, site, at=self.now)
                assert taken is not None
                self._decide(connection, taken.review.review_id, rita, taken)
        with self.ledger.write() as connection:
            assert take(connection, self.world.people["anna"], self.world.site, at=self.now + HOUR) is None


def test_whatever_people_do_no_bin_has_two_of_them_and_none_is_forgotten(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "template.sqlite") as made, made.write():
        pass
    machine = type("Machine", (Leases,), {"template": tmp_path / "template.sqlite"})
    test = machine.TestCase  # type: ignore[attr-defined]
    test.settings = settings(max_examples=7, stateful_step_count=20, deadline=None, derandomize=True)
    test("runTest").runTest()


@pytest.mark.parametrize("minutes", [0.0, -5.0, 1e9, 1e300, float("nan")])
def test_no_bin_is_kept_for_longer_than_a_day(ledger: Ledger, minutes: float) -> None:
    # A lease of a billion minutes was once given, and a longer one ended in a traceback.
    with ledger.write() as connection:
        world = World.new(connection)
        opened(world, world.judged("A-1"))
        with pytest.raises(UsageError, match="can't be kept for"):
            take(connection, world.people["rita"], world.site, at=NOON, minutes=minutes)
