"""kill -9 between any two steps: each correction is posted exactly once, in order for each bin, undone ones included.

A child corrects, undoes, picks and posts; it is killed at a boundary of a transaction or of a call to the stock system,
or whenever it happens to be, and started again: from the step that nobody confirmed, or, where it was posting, also
from the one after it, so that things happen while postings are half done.
"""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bintally.inventory.ledger import Ledger
from tests.crashing import Child
from tests.inventory.erp.checks import all_told, told_once
from tests.inventory.erp.crash_child import BINS, RECORDED, SKU, STEPS
from tests.inventory.erp.desks import connected
from tests.inventory.erp.notebook import Notebook
from tests.inventory.review.desks import opened
from tests.inventory.worlds import World

PROGRAM = Path(__file__).parent / "crash_child.py"
TRIES = 6  # fewer kills than that, and it is left in peace

Yard = Callable[[], tuple[str, Notebook]]


class Poster(Child):
    """`crash_child`, ready to fork."""

    def run(
        self,
        place: str,
        erp: Notebook,
        *,
        start: int = 0,
        die: tuple[int, str] | None = None,
        after_s: float | None = None,
    ) -> tuple[int, str]:
        """The first step that is not confirmed after a run that may have been killed, and its last line."""
        return self.ask({"place": place, "erp": str(erp.path), "start": start, "die": die}, after_s=after_s)


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Poster]:
    made = Poster(PROGRAM, tmp_path_factory.mktemp("crash"))
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def yard(request: pytest.FixtureRequest, new_place: Callable[[str], str], tmp_path: Path) -> Yard:
    """Ledgers with a doubtful record of each bin, and the stock system that it comes from."""
    numbers = iter(range(10_000))

    def made() -> tuple[str, Notebook]:
        place = new_place(request.param)
        erp = Notebook(tmp_path / f"erp {next(numbers)}.sqlite")
        with Ledger.open(place, create=True) as ledger, ledger.write() as connection:
            world = World.new(connection)
            connected(ledger, world)
            for code in BINS:
                assert opened(world, world.judged(code, recorded=RECORDED, count=3, value=1.0)) is not None
                erp.put(code, **{SKU: RECORDED})
        return place, erp

    return made


def test_nothing_is_lost_and_nothing_is_posted_twice(child: Poster, yard: Yard) -> None:
    boundaries = undisturbed(child, yard)
    for seed in range(3):
        survives(child, yard, boundaries, seed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(10))
def test_two_hundred_runs(child: Poster, yard: Yard, part: int) -> None:
    boundaries = undisturbed(child, yard)
    for seed in range(100 + 20 * part, 120 + 20 * part):  # on each database
        survives(child, yard, boundaries, seed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_each_boundary(child: Poster, yard: Yard, when: str) -> None:
    for number in range(undisturbed(child, yard)):
        place, erp = yard()
        confirmed, _ = child.run(place, erp, die=(number, when))
        ends(child, place, erp, confirmed, f"killed {when} boundary {number}")


def undisturbed(child: Poster, yard: Yard) -> int:
    """How many boundaries there are where nobody is killed."""
    place, erp = yard()
    confirmed, last = child.run(place, erp)
    assert confirmed == len(STEPS)
    with Ledger.open(place) as ledger:
        all_told(ledger, erp)
    held = {code: erp.held(code)[SKU] for code in BINS}
    assert held == {"A": 6, "B": 8, "C": 9, "D": 4, "E": 11}
    return int(last.split()[-1])


def survives(child: Poster, yard: Yard, boundaries: int, seed: int) -> None:
    """Kills a child at moments that `seed` chooses until it has done all, and looks at what is there then."""
    chance = random.Random(seed)
    place, erp = yard()
    confirmed = 0
    for _ in range(chance.randrange(1, TRIES)):
        how: dict[str, Any] = {"after_s": chance.uniform(0.0, 0.5)}
        if chance.random() < 0.8:
            left = max(boundaries * (len(STEPS) - confirmed) // len(STEPS), 2)
            how = {"die": (chance.randrange(left), chance.choice(["before", "after"]))}
        confirmed, _ = child.run(place, erp, start=confirmed, **how)
        if confirmed < len(STEPS) and STEPS[confirmed][0] == "post" and chance.random() < 0.6:
            confirmed += 1  # it goes on with what comes after, and posts the rest later
        with Ledger.open(place) as ledger:
            told_once(ledger, erp)
    ends(child, place, erp, confirmed, f"seed {seed}")


def ends(child: Poster, place: str, erp: Notebook, confirmed: int, what: str) -> None:
    """Lets it do the rest in peace; nothing is missing then."""
    assert child.run(place, erp, start=confirmed)[0] == len(STEPS), what
    with Ledger.open(place) as ledger:
        all_told(ledger, erp)
    assert {code: erp.held(code)[SKU] for code in BINS} == {"A": 6, "B": 8, "C": 9, "D": 4, "E": 11}, what
