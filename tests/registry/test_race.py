"""Of several who promote at once, one does; a rollback waits for none of them."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bintally.database import audit
from bintally.errors import ConflictError
from bintally.registry.place import Registry
from bintally.registry.promotion import promote
from bintally.registry.rollback import rollback
from tests.registry.conftest import MakeBundle
from tests.registry.worlds import champion, champions, promoted, registered, said

PROGRAM = Path(__file__).parent / "race_child.py"
NAMES = tuple(f"bintally/{number}" for number in range(2, 6))


@pytest.mark.parametrize("how", ["turns", "words"])
def test_one_promotion_wins_and_the_others_are_in_conflict(registry: Registry, bundle: MakeBundle, how: str) -> None:
    registered(registry, *map(bundle, "abcde"))
    promoted(registry, "1")
    races(registry, how, rounds=1)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("how", ["turns", "words"])
def test_one_wins_again_and_again(registry: Registry, bundle: MakeBundle, how: str) -> None:
    registered(registry, *map(bundle, "abcde"))
    promoted(registry, "1")
    races(registry, how, rounds=50)


def races(registry: Registry, how: str, *, rounds: int) -> None:
    """All other versions against the champion, so many times."""
    for number in range(rounds):
        before, others = champion(registry), [name for name in NAMES if name != champion(registry)]
        command = [sys.executable, str(PROGRAM), str(registry.place), how, *others]
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120, check=True)
        told = ran.stdout.split("\n")[:-1]
        winners = [line for line in told if line != "conflict"]
        assert len(told) == len(others)
        assert winners == [champion(registry)] != [before]
        assert len(champions(registry)) == number + 2
    with registry.read() as connection:
        assert audit.verify(connection).is_whole


def test_promotions_and_rollbacks_at_once_make_one_history(registry: Registry, bundle: MakeBundle) -> None:
    registered(registry, *map(bundle, "abcde"))
    for name in ("1", "2", "3"):
        promoted(registry, name)
    start = threading.Barrier(3)
    outcomes: list[str] = []

    def at_once(change: Callable[[Registry], str]) -> None:
        with Registry.open(registry.place) as own:
            start.wait(30)
            try:
                outcomes.append(change(own))
            except ConflictError:
                outcomes.append("conflict")

    gates = {name: said(registry, name) for name in ("4", "5")}
    changes: list[Callable[[Registry], str]] = [
        lambda own: rollback(own, of="3", by="rita").version.name,
        lambda own: promote(own, "4", gates=gates["4"], by="night").version.name,
        lambda own: promote(own, "5", gates=gates["5"], by="night").version.name,
    ]
    threads = [threading.Thread(target=at_once, args=(change,)) for change in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Whoever came first won: all others speak of a champion that is none any more.
    assert sorted(outcomes) == sorted([str(champion(registry)), "conflict", "conflict"])
