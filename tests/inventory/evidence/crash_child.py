"""A process that exports a ledger's evidence and dies where it is told: after so many corrections, or at its line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

sys.path.insert(0, str(Path(__file__).parents[3]))

from bintally.inventory.ledger import Ledger
from bintally.progress import Task
from tests.crashing import die, fork_for_each
from tests.inventory.evidence.corrections import exported
from tests.inventory.worlds import MORNING


class Dying(Ledger):
    """A ledger whose process dies beside the one transaction that writes."""

    doomed: str | None = None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with super().write() as connection:
            yield connection
            self._maybe("before the line")
        self._maybe("after the line")

    def _maybe(self, when: str) -> None:
        if self.doomed == when:
            die()


class DyingProgress:
    """Progress whose process dies after so many corrections."""

    def __init__(self, left: int | None) -> None:
        self._left = left

    @contextmanager
    def task(self, label: str, *, total: int | None, unit: str = "") -> Iterator[Task]:
        yield self

    def say(self, text: str) -> None: ...

    def note(self, text: str) -> None: ...

    def advance(self, amount: int = 1) -> None:
        if self._left is not None:
            self._left -= amount
            if not self._left:
                die()


def work(asked: dict[str, Any]) -> None:
    with Path(asked["said"]).open("a") as said, Dying.open(asked["place"]) as ledger:
        when = asked["die"]
        ledger.doomed = when if isinstance(when, str) else None
        progress = DyingProgress(when if isinstance(when, int) else None)
        out, zipped = Path(asked["out"]), bool(asked["zipped"])
        told = exported(ledger, out, since=MORNING, zipped=zipped, progress=progress)
        print(told.sha256, file=said, flush=True)


if __name__ == "__main__":
    fork_for_each(work)
