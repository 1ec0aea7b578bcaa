"""What `test_crash` kills: a process that makes a registry and promotes, rolls back and retires versions there.

    python tests/registry/crash_child.py

Its tasks come as `tests.crashing` says. `die`: the fork kills itself before its so-manieth step, where a step is
whatever Python tells its auditors of the registry's folder (a file opened for writing, renamed, removed, its times
set, a folder made or removed) and the moments right before and after each commit.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, update

sys.path.insert(0, str(Path(__file__).parents[2]))

from bintally.database import leases
from bintally.registry.approval import forget, retire
from bintally.registry.place import Registry
from bintally.registry.promotion import promote, promoting
from bintally.registry.registration import register
from bintally.registry.rollback import rollback
from tests.crashing import die, fork_for_each
from tests.registry.worlds import said

STEPS: tuple[tuple[str, str, str | None], ...] = (
    ("register", "a", None),
    ("promote", "1", "bintally/1"),
    ("register", "b", "bintally/1"),
    ("promote", "2", "bintally/2"),
    ("rollback", "2", "bintally/1"),
    ("retire", "2", "bintally/1"),
    ("forget", "2", "bintally/1"),
    ("register", "c", "bintally/1"),
    ("force", "3", "bintally/3"),
    ("rollback", "3", "bintally/1"),
    ("register", "a", "bintally/1"),
)
"""What is done, and who is the champion then."""

_FILES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.utime", "shutil.rmtree"}


class Points:
    """Counts the steps, and dies before one of them."""

    def __init__(self, place: str, doomed: int | None) -> None:
        self.place, self.doomed, self.passed = place, doomed, 0

    def one(self) -> None:
        if self.passed == self.doomed:
            die()
        self.passed += 1

    def hear(self, event: str, told: tuple[Any, ...]) -> None:
        """An auditor: https://docs.python.org/3/library/audit_events.html."""
        if event == "open":
            path, _, flags = told
            is_ours = isinstance(path, str) and path.startswith(self.place) and flags & (os.O_WRONLY | os.O_RDWR)
        else:
            is_ours = event in _FILES and isinstance(told[0], str) and told[0].startswith(self.place)
        if is_ours:
            self.one()


class Dying(Registry):
    """A registry whose process may die around a commit."""

    points: Points

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with super().write() as connection:
            yield connection
            self.points.one()
        self.points.one()


def work(task: dict[str, Any]) -> None:
    """Does the steps from `start` on, before `stop`."""
    points = Points(task["place"], task["die"])
    sys.addaudithook(points.hear)
    Dying.points = points
    with Path(task["said"]).open("a") as told, Dying.open(task["place"], create=True) as registry:
        _a_minute_later(registry)
        for number in range(task["start"], task["stop"]):
            verb, what, _ = STEPS[number]
            DOING[verb](registry, what, Path(task["bundles"]))
            print(number, file=told, flush=True)
        print("done", points.passed, file=told, flush=True)


def _a_minute_later(registry: Registry) -> None:
    """A killed one's turn is over then."""
    with registry.database.write() as connection:
        connection.execute(update(leases.LeaseRow).values(until=datetime(2026, 1, 1, tzinfo=UTC)))


def _register(registry: Registry, what: str, bundles: Path) -> None:
    register(registry, bundles / what, by="rita")


def _promote(registry: Registry, what: str, bundles: Path) -> None:
    with promoting(registry, by="night") as turn:
        promotion = promote(registry, what, gates=said(registry, what), turn=turn, by="night")
    assert promotion.promoted, promotion.why


def _force(registry: Registry, what: str, bundles: Path) -> None:
    assert promote(registry, what, force_reason="the old camera", by="rita").promoted


def _rollback(registry: Registry, what: str, bundles: Path) -> None:
    rollback(registry, of=what, by="rita")


def _retire(registry: Registry, what: str, bundles: Path) -> None:
    retire(registry, what, by="rita", reason="old")


def _forget(registry: Registry, what: str, bundles: Path) -> None:
    forget(registry, what, by="rita", reason="asked to")


DOING: dict[str, Callable[[Registry, str, Path], None]] = {
    "register": _register,
    "promote": _promote,
    "force": _force,
    "rollback": _rollback,
    "retire": _retire,
    "forget": _forget,
}

if __name__ == "__main__":
    fork_for_each(work)
