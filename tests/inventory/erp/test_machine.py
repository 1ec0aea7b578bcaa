"""Whatever people, pickers and the stock system do, in whatever order: each correction arrives once."""

import shutil
import tempfile
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from bintally.errors import ErpError
from bintally.inventory.erp.connections import pause
from bintally.inventory.erp.relay import post
from bintally.inventory.intake import take_movement
from bintally.inventory.ledger import Ledger
from bintally.inventory.review.decisions import decide
from bintally.inventory.review.leases import take
from bintally.inventory.review.undo import undo
from tests.inventory.erp.checks import all_told, told_once
from tests.inventory.erp.desks import EVENING, SKU, connected
from tests.inventory.erp.notebook import Notebook
from tests.inventory.review.desks import opened
from tests.inventory.worlds import HOUR, MINUTE, MORNING, World

BINS = ("A", "B", "C")
RECORDED = 20
FAULTS = st.sampled_from(
    [
        [],
        [("commit", "after")],
        [("commit", "half")],
        [("commit", "late")],
        [("commit", "broken")],
        [("commit", "strange")],
        [("prepare", "after")],
        [("prepare", "late")],
        [("prepare", "half")],
        [("prepare", "after"), ("cancel", "after")],
        [("prepare", "after"), ("cancel", "late")],
        [("commit", "late"), ("find", "before")],
        [("commit", "after"), ("find", "strange")],
        [("read", "before")],
    ]
)
"""What a run meets; what it does not use up, the next one does."""


class Site:
    """A ledger with a doubtful record of each bin, to be copied; and what stands in it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        with Ledger.open(place, create=True) as ledger, ledger.write() as connection:
            world = World.new(connection)
            self.to, self.site, self.people = connected(ledger, world), world.site, world.people
            self.reviews = {code: self._review(world, code) for code in BINS}

    def _review(self, world: World, code: str) -> int:
        review = opened(world, world.judged(code, recorded=RECORDED, count=3, value=1.0))
        assert review is not None
        return review


class Outbox(RuleBasedStateMachine):
    """Each bin has one review, which is decided and taken back again and again."""

    of: Site

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="bintally-"))
        self.ledger = Ledger.open(shutil.copy(self.of.place, self.folder / "ledger.sqlite"))
        self.erp = Notebook(self.folder / "erp.sqlite")
        for code in BINS:
            self.erp.put(code, **{SKU: RECORDED})
        self.hour, self.moved = 0, 0
        self.standing: dict[str, int] = {}

    @property
    def now(self) -> datetime:
        return EVENING + self.hour * HOUR

    @rule(code=st.sampled_from(BINS), count=st.integers(10, 30).filter(lambda count: count != RECORDED))
    def correct(self, code: str, count: int) -> None:
        if code in self.standing:
            return
        rita, review_id = self.of.people["rita"], self.of.reviews[code]
        with self.ledger.write() as connection:
            leased = take(connection, rita, self.of.site, at=self.now, review_id=review_id)
            assert leased is not None
            told = decide(
                connection, review_id=review_id, person=rita, token=leased.token, kind="correct", count=count,
                at=self.now,
            )  # fmt: skip
        self.standing[code] = told.decision_id

    @rule(code=st.sampled_from(BINS))
    def take_back(self, code: str) -> None:
        if code in self.standing:
            with self.ledger.write() as connection:
                undo(connection, decision_id=self.standing.pop(code), person=self.of.people["rita"], at=self.now)

    @rule(code=st.sampled_from(BINS), quantity=st.sampled_from([-1, 1]), is_earlier=st.booleans())
    def move(self, code: str, quantity: int, is_earlier: bool) -> None:
        """`is_earlier`: before the photo was taken; whoever counts by it then has heard of it."""
        if self.moved == 8 or (is_earlier and code in self.standing):  # never below nothing
            return
        self.moved += 1
        since = MORNING if is_earlier else MORNING + 2 * HOUR
        key, moved_at = f"move {self.moved}", since + self.moved * MINUTE
        with self.ledger.write() as connection:
            take_movement(
                connection, self.of.site, bin=code, quantity=quantity, product=SKU, key=key, moved_at=moved_at
            )
        self.erp.book(key, code, SKU, quantity)

    @rule()
    def arrive(self) -> None:
        self.erp.deliver()

    @rule(paused=st.sampled_from([True, False, False]))
    def pause(self, paused: bool) -> None:
        with self.ledger.write() as connection:
            pause(connection, self.of.to.name, paused=paused, by=self.of.people["adam"], at=self.now)

    @rule(faults=FAULTS)
    def post(self, faults: list[tuple[str, str]]) -> None:
        self.hour += 2
        self.erp.faults += faults
        with suppress(ErpError):
            post(self.ledger, self.of.to, self.erp, clock=lambda: self.now)

    @invariant()
    def is_told_once(self) -> None:
        told_once(self.ledger, self.erp)

    def teardown(self) -> None:
        self.erp.faults = []
        self.erp.deliver()
        self.pause(paused=False)
        for _ in range(12):
            self.post([])
        self.erp.deliver()
        all_told(self.ledger, self.erp)
        self.ledger.close()
        shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> type[Outbox]:
    class OfSite(Outbox):
        of = Site(tmp_path_factory.mktemp("site") / "ledger.sqlite")

    return OfSite


def _settings(examples: int, *, shrinks: bool) -> settings:
    return settings(
        max_examples=examples,
        phases=(Phase.generate, Phase.shrink) if shrinks else (Phase.generate,),  # it takes minutes
        stateful_step_count=25,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def test_each_correction_arrives_once(machine: type[Outbox]) -> None:
    run_state_machine_as_test(machine, settings=_settings(10, shrinks=False))


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_each_correction_arrives_once_in_many_worlds(machine: type[Outbox]) -> None:
    run_state_machine_as_test(machine, settings=_settings(400, shrinks=True))
