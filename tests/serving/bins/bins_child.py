"""What `test_exactly_once` kills: a process that takes photos of bins in, while the ledger is away again and again.

    python tests/serving/bins/bins_child.py

It reads what to do from stdin, a JSON object a line, and forks for each, so that nobody waits for imports; it tells the
fork's process id, and how it ended. The fork appends to the file `said` the number of each photo that was answered, and
"done" when all were, and what waited was taken in unless another does that just now. A robot that hears nothing sends
again: `start` is the first photo that nobody answered. `away`: photos that come while somebody else writes; `empties`:
those after which the disk is emptied. `die`: the fork kills itself at its so-manieth moment: right before or after a
transaction, a photo put on the disk, or one removed from it.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

sys.path.insert(0, str(Path(__file__).parents[3]))

from bintally.counting.counter import Counter
from bintally.inventory.ledger import Ledger
from bintally.serving.bins import ledger_place
from bintally.serving.bins.delivery import Delivery
from bintally.serving.bins.spool import Spool, Waiting
from tests.serving.bins.shop import Shop

PHOTOS: tuple[tuple[str, float, float, int | None], ...] = (
    ("A", 3, 1, None),
    ("B", 3, 1, None),  # wrong: a review
    ("A", 3, 2, 3),
    ("A", 4, 4, 4),  # another record
    ("C", 2, 1, None),
    ("A", 3, 3, None),  # late, between two others
    ("B", 3, 2, 3),
    ("A", 4, 4, 4),  # a retry
    ("C", 2, 2, 2),
)
"""Bin, what the photo shows, hours after the morning, what the sender says is recorded."""


class Moments:
    """Counts moments, and dies at one of them."""

    die: int | None = None
    passed = 0

    @classmethod
    def pass_one(cls) -> None:
        """One more."""
        if cls.passed == cls.die:
            os.kill(os.getpid(), signal.SIGKILL)
        cls.passed += 1


class DyingLedger(Ledger):
    """A ledger whose process dies in one of its transactions, or right after one."""

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with super().write() as connection:
            yield connection
            Moments.pass_one()
        Moments.pass_one()


class DyingSpool(Spool):
    """A spool whose process dies before or after a step."""

    def add(self, delivery: Delivery) -> None:
        Moments.pass_one()
        super().add(delivery)
        Moments.pass_one()

    def done(self, waiting: Waiting) -> None:
        Moments.pass_one()
        super().done(waiting)
        Moments.pass_one()


def main() -> None:
    """Forks for each line."""
    ledger_place.Ledger = DyingLedger  # type: ignore[attr-defined]
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            code = 1
            try:
                work(json.loads(line))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        tell(pid)
        tell(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def tell(number: int) -> None:
    """One line on stdout."""
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def work(asked: dict[str, Any]) -> None:
    """Sends all photos from `start` on, and empties the disk at last."""
    Moments.die = asked["die"]
    counter = Counter(asked["bundle"], threads=1)
    with Path(asked["said"]).open("a") as said, Shop(asked["place"], counter, Path(asked["folder"])) as shop:
        shop.known.spool = shop.spool = DyingSpool(Path(asked["folder"]) / "spool", max_bytes=2**20)
        for number in range(asked["start"], len(PHOTOS)):
            code, count, at, recorded = PHOTOS[number]
            shop.clock.passes(60.0)  # so that each tries the ledger
            with shop.locked() if number in asked["away"] else nullcontext():
                shop.sends(code, count, at=at, recorded_count=recorded)
            print(number, file=said, flush=True)
            if number in asked["empties"]:
                shop.empties()
        shop.empties()
        print("done", file=said, flush=True)


if __name__ == "__main__":
    main()
