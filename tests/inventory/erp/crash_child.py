"""What `test_crash` kills: a process that corrects, undoes, picks, and posts, step by step.

    python tests/inventory/erp/crash_child.py

As `tests.crashing` says. `die`: it kills itself at its so-manieth boundary, right "before" or "after" it: each
transaction of the ledger is one (before its commit, after it), and each call of the stock system.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, TypeVar

from sqlalchemy import Connection, delete, select

sys.path.insert(0, str(Path(__file__).parents[3]))

from bintally.database.leases import LeaseRow
from bintally.inventory import schema
from bintally.inventory.erp.connections import connection_of
from bintally.inventory.erp.relay import post
from bintally.inventory.intake import take_movement
from bintally.inventory.ledger import Ledger, site_of
from bintally.inventory.people import person_of
from bintally.inventory.review.decisions import decide
from bintally.inventory.review.leases import held, take
from bintally.inventory.review.undo import undo
from tests.crashing import die, fork_for_each
from tests.inventory.erp.notebook import Notebook
from tests.inventory.worlds import MORNING

_T = TypeVar("_T")

EVENING = MORNING + timedelta(hours=10)
SKU = "B-1.0"
BINS = ("A", "B", "C", "D", "E")
RECORDED = 10

STEPS: tuple[tuple[Any, ...], ...] = (
    ("correct", "A", 9, "a1"),
    ("correct", "B", 8, "b1"),
    ("post",),
    ("pick", "A", "p1"),
    ("undo", "a1"),
    ("correct", "C", 12, "c1"),
    ("undo", "c1"),
    ("post",),
    ("correct", "A", 7, "a2"),
    ("correct", "C", 6, "c2"),
    ("correct", "D", 5, "d1"),
    ("pick", "C", "p2"),
    ("post",),
    ("undo", "c2"),
    ("undo", "d1"),
    ("correct", "D", 4, "d2"),
    ("correct", "E", 11, "e1"),
    ("post",),
)


class Doom:
    """Counts boundaries, and dies at the one that was chosen."""

    def __init__(self, chosen: tuple[int, str] | None) -> None:
        self._chosen, self.passed = chosen, 0

    def at(self, when: str) -> None:
        if current_thread() is not main_thread():  # a lease is renewed
            return
        if self._chosen == (self.passed, when):
            die()
        self.passed += when == "after"


class Dying(Ledger):
    """A ledger whose process dies in one of its transactions."""

    doom = Doom(None)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with super().write() as connection:
            yield connection
            self.doom.at("before")
        self.doom.at("after")


class DyingNotebook(Notebook):
    """A connector whose process dies in one of its calls."""

    doom = Doom(None)

    def _call(self, name: str, do: Callable[[], _T], **how: Any) -> _T:
        self.doom.at("before")
        told = super()._call(name, do, **how)
        self.doom.at("after")
        return told


def work(asked: dict[str, Any]) -> None:
    """Does all steps from `start` on, and posts what is left."""
    with Path(asked["said"]).open("a") as said, Dying.open(asked["place"]) as ledger:
        with ledger.write() as connection:  # who had it was killed; nobody waits here for its end
            connection.execute(delete(LeaseRow))
        erp = DyingNotebook(Path(asked["erp"]))
        ledger.doom = erp.doom = Doom(tuple(asked["die"]) if asked["die"] else None)
        for number in range(asked["start"], len(STEPS)):
            kind, *told = STEPS[number]
            DOING[kind](ledger, erp, *told)
            print(number, file=said, flush=True)
        tell(ledger, erp)
        print("done", ledger.doom.passed, file=said, flush=True)


def correct(ledger: Ledger, erp: Notebook, code: str, count: int, key: str) -> None:
    with ledger.write() as connection:
        rita, site = person_of(connection, "rita"), site_of(connection)
        done = connection.execute(select(schema.Decision.id).where(schema.Decision.key == key)).first()
        mine = [each for each in held(connection, rita, site, at=EVENING) if each.review.bin == code]
        leased = mine[0] if mine else None
        if leased is None and done is None:
            leased = take(connection, rita, site, at=EVENING, review_id=_open(connection, code))
        if done is None:
            assert leased is not None
            decide(
                connection, review_id=leased.review.review_id, person=rita, token=leased.token, kind="correct",
                count=count, key=key, at=EVENING,
            )  # fmt: skip


def take_back(ledger: Ledger, erp: Notebook, key: str) -> None:
    with ledger.write() as connection:
        decision = connection.execute(select(schema.Decision.id).where(schema.Decision.key == key)).scalar_one()
        undo(connection, decision_id=decision, person=person_of(connection, "rita"), at=EVENING)


def pick(ledger: Ledger, erp: Notebook, code: str, key: str) -> None:
    erp.book(key, code, SKU, -1)
    with ledger.write() as connection:
        moved_at = MORNING + timedelta(hours=2)  # after the photos
        take_movement(connection, site_of(connection), bin=code, quantity=-1, product=SKU, moved_at=moved_at, key=key)


def tell(ledger: Ledger, erp: Notebook) -> None:
    with ledger.read() as connection:
        to = connection_of(connection)
    post(ledger, to, erp, clock=lambda: EVENING)


def _open(connection: Connection, code: str) -> int:
    return connection.execute(
        select(schema.Review.id)
        .join(schema.Bin, schema.Bin.id == schema.Review.bin_id)
        .where(schema.Bin.code == code, schema.Review.state == "open")
    ).scalar_one()


DOING: dict[str, Callable[..., None]] = {"correct": correct, "undo": take_back, "pick": pick, "post": tell}

if __name__ == "__main__":
    fork_for_each(work)
