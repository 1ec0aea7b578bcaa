"""Whatever fails and whoever is killed: what was answered is in the ledger once, as if nothing had happened."""

import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bintally.counting.counter import Counter
from tests.inventory.test_crash import held
from tests.serving.bins.bins_child import PHOTOS
from tests.serving.bins.shop import Shop, stock

CHILD = Path(__file__).parent / "bins_child.py"
KILLS = 4  # more, and it is left in peace


class Child:
    """`bins_child`, ready to fork."""

    def __init__(self, bundle: Path, said: Path) -> None:
        self._bundle, self._said = bundle, said
        self._process = subprocess.Popen(
            [sys.executable, str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(
        self, place: str, folder: Path, *, start: int = 0, die: int | None = None, chance: random.Random
    ) -> tuple[int, str]:
        """The first photo that was not answered in a run that may have been killed, and its last line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._said.unlink(missing_ok=True)
        photos = range(len(PHOTOS))
        asked = {
            "place": place,
            "bundle": str(self._bundle),
            "folder": str(folder),
            "start": start,
            "die": die,
            "said": str(self._said),
            "away": [number for number in photos if chance.random() < 0.4],
            "empties": [number for number in photos if chance.random() < 0.3],
        }
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        assert int(self._process.stdout.readline())
        assert int(self._process.stdout.readline()) in (0, -signal.SIGKILL)
        said = self._said.read_text().splitlines() if self._said.exists() else []
        answered = [int(line) for line in said if line.isdigit()]
        assert answered == list(range(start, start + len(answered)))
        return start + len(answered), said[-1] if said else ""

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def children(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Child]]:
    folder = tmp_path_factory.mktemp("said")
    made = [Child(bundle, folder / f"{number}") for number in range(2)]
    yield made
    for child in made:
        child.close()


@pytest.fixture(scope="module")
def undisturbed(counter: Counter, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the ledger holds when it is never away and nobody is killed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    place = stock(str(folder / "ledger.sqlite"))
    with Shop(place, counter, folder) as shop:
        for code, count, at, recorded in PHOTOS:
            assert not shop.sends(code, count, at=at, recorded_count=recorded).degraded
    return held(place)


Place = Callable[[str], str]


@pytest.mark.parametrize("seed", range(2))
def test_a_ledger_that_comes_and_goes_ends_as_one_that_stayed(
    shop: Shop, counter: Counter, undisturbed: dict[str, Any], tmp_path: Path, seed: int
) -> None:
    comes_and_goes(shop, counter, undisturbed, tmp_path, seed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_many_ledgers_that_come_and_go(
    new_place: Place, kind: str, counter: Counter, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    for seed in range(100, 150):
        with Shop(stock(new_place(kind)), counter, tmp_path / f"{seed}") as shop:
            comes_and_goes(shop, counter, undisturbed, tmp_path / f"{seed}", seed)


def comes_and_goes(shop: Shop, counter: Counter, undisturbed: dict[str, Any], folder: Path, seed: int) -> None:
    """Photos, retries, failures, restarts and emptyings in an order that `seed` chooses."""
    chance = random.Random(seed)
    services = [shop, Shop(shop.place, counter, folder)]  # the second starts after the first "died", or lives beside it
    for number in range(len(PHOTOS)):
        if chance.random() < 0.5:
            with chance.choice(services).locked():
                send(chance.choice(services), number)
        for _ in range(chance.randrange(1, 3)):
            send(chance.choice(services), number)
        if chance.random() < 0.3:
            chance.choice(services).empties()
    shop.empties_all()
    services[1].known.close()
    assert shop.spool.size().rejected == 0
    assert held(shop.place) == undisturbed


def send(shop: Shop, number: int) -> None:
    code, count, at, recorded = PHOTOS[number]
    if number % 2:
        shop.clock.passes(60.0)
    shop.sends(code, count, at=at, recorded_count=recorded)


@pytest.mark.parametrize("seed", range(2))
def test_a_kill_at_any_moment_loses_nothing_and_does_nothing_twice(
    place: str, children: list[Child], counter: Counter, undisturbed: dict[str, Any], tmp_path: Path, seed: int
) -> None:
    survives(stock(place), children[0], counter, undisturbed, tmp_path, seed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_many_kills(
    new_place: Place, kind: str, children: list[Child], counter: Counter, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    for seed in range(100, 150):
        survives(stock(new_place(kind)), children[0], counter, undisturbed, tmp_path / f"{seed}", seed)


def survives(place: str, child: Child, counter: Counter, undisturbed: dict[str, Any], folder: Path, seed: int) -> None:
    """Kills a child at moments that `seed` chooses until it has done all."""
    chance = random.Random(seed)
    answered = 0
    for _ in range(chance.randrange(1, KILLS)):
        moments = 12 * max(len(PHOTOS) - answered, 1)
        answered, _ = child.run(place, folder, start=answered, die=chance.randrange(moments), chance=chance)
    answered, last = child.run(place, folder, start=answered, chance=chance)
    assert (answered, last) == (len(PHOTOS), "done")
    assert held_in_the_end(place, folder, counter) == undisturbed


def held_in_the_end(place: str, folder: Path, counter: Counter) -> dict[str, Any]:
    """What the ledger holds when nothing waits any more, and nothing was put aside."""
    with Shop(place, counter, folder) as shop:
        shop.empties_all()
        assert shop.spool.size().rejected == 0
    return held(place)


def test_two_processes_share_the_disk_and_the_ledger(
    place: str, children: list[Child], counter: Counter, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    """A robot that hears nothing from one worker sends to the other: both are told everything."""
    stock(place)
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(child.run, place, tmp_path, chance=random.Random(seed)) for seed, child in enumerate(children)
        ]
        for run in runs:
            assert run.result(timeout=120) == (len(PHOTOS), "done")
    assert held_in_the_end(place, tmp_path, counter) == undisturbed
