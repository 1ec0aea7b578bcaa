"""kill -9 leaves a whole bundle or none, and none that the log does not tell of."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from bintally.database import audit
from bintally.inventory.evidence.verify import verify_evidence
from bintally.inventory.ledger import Ledger
from tests.crashing import Child
from tests.inventory.erp.notebook import Notebook
from tests.inventory.evidence.corrections import connected, corrected, made, told

PROGRAM = Path(__file__).parent / "crash_child.py"
CORRECTIONS = 6


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    made = Child(PROGRAM, tmp_path_factory.mktemp("crash"))
    yield made
    made.close()


@pytest.fixture
def full_place(place: str, tmp_path: Path) -> str:
    """A ledger with some corrections, once on each database."""
    with Ledger.open(place, create=True) as ledger:
        erp = Notebook(tmp_path / "erp.sqlite")
        with ledger.write() as connection:
            world = made(connection, tmp_path / "photos")
            connected(world)
            for number in range(CORRECTIONS):
                corrected(world, f"A-{number}")
                erp.put(f"A-{number}", **{"B00-DRILL": 3, "B00-BITS": 1})
        told(ledger, erp)
    return place


def survives(child: Child, place: str, folder: Path, die: int | str | None, after_s: float | None, name: str) -> None:
    """A run that is killed, and one that is not."""
    out = folder / name
    with Ledger.open(place) as ledger:
        before = _exports(ledger)
        task = {"place": place, "out": str(out), "zipped": name.endswith(".zip"), "die": die, "start": 0}
        child.ask(task, after_s=after_s)
        logged = _exports(ledger)[len(before) :]
        if out.exists():
            found = verify_evidence(bundle=out, ledger=ledger)
            assert (found.outcome, found.corrections) == ("vouched", CORRECTIONS)
            assert logged == [f"evidence:{found.sha256}"]
        if die is not None:
            assert not out.exists()
            assert len(logged) == (die == "after the line")
        if not out.exists():
            _, last = child.ask(task | {"die": None})
            assert verify_evidence(bundle=out, expect=last).outcome == "vouched"


def test_an_export_that_is_killed_leaves_no_half_of_it(child: Child, full_place: str, tmp_path: Path) -> None:
    moments: tuple[int | str, ...] = (1, CORRECTIONS, "before the line", "after the line")
    for at, die in enumerate(moments):
        survives(child, full_place, tmp_path, die, None, f"out{at}" + (".zip" if at % 2 else ""))


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_exports_that_are_killed_whenever_it_happens(child: Child, full_place: str, tmp_path: Path) -> None:
    chance = random.Random(9)
    for at in range(200):
        survives(child, full_place, tmp_path, None, chance.uniform(0.0, 0.5), f"out{at}" + (".zip" if at % 2 else ""))


def _exports(ledger: Ledger) -> list[str]:
    with ledger.read() as connection:
        return [line.subject for line in audit.entries(connection) if line.action == "evidence.export"]
