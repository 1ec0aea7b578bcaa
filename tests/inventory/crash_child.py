"""What `test_crash` kills: a process that takes facts in, one after the other, judges them, and decides reviews.

    python tests/inventory/crash_child.py

It reads what to do from stdin, a JSON object a line, and forks for each, so that nobody waits for imports; it tells the
fork's process id, and how it ended. The fork appends to the file `said` the number of each step that is done, and
"done" when all are. A sender that hears nothing sends again: `start` is the first step that nobody confirmed. `die`:
the fork kills itself in its so-manieth transaction, with all of it written but not committed ("before"), or right
after that ("after").
"""

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

sys.path.insert(0, str(Path(__file__).parents[2]))

from bintally.inventory import schema
from bintally.inventory.intake import take_movement, take_record
from bintally.inventory.judging.arrivals import take_and_judge
from bintally.inventory.judging.how import How
from bintally.inventory.judging.reconcile import reconcile_ledger
from bintally.inventory.ledger import Ledger, add_site, site_of
from bintally.inventory.people import add_person, person_of
from bintally.inventory.review.decisions import decide
from bintally.inventory.review.leases import held, take
from tests.bundles import bin_photo
from tests.crashing import die, fork_for_each

MORNING = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
DECIDED_AT = MORNING + timedelta(days=30_000)  # a lease lasts as long as the clock stands still

STEPS: tuple[tuple[Any, ...], ...] = (
    ("record", "A", 3, 0),
    ("record", "B", 5, 0),
    ("record", "C", 2, 0),
    ("photo", "A", 3, 1),
    ("photo", "B", 3, 1),  # wrong: a review
    ("photo", "C", None, 1),  # no photo at all: a review
    ("decide", "B", "correct", 3),
    ("move", "A", -1, 2),
    ("photo", "A", 2, 3),  # compared with the one before
    ("record", "A", 2, 2),
    ("photo", "B", 4, 4),
    ("decide", "C", "not_this_bin", None),
    ("photo", "A", 2, 2.5),  # late, between two others
)


class Dying(Ledger):
    """A ledger whose process dies in one of its transactions."""

    doomed: tuple[int, str] | None = None
    written = 0

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with super().write() as connection:
            yield connection
            self._maybe("before")
        self._maybe("after")
        self.written += 1

    def _maybe(self, when: str) -> None:
        if self.doomed == (self.written, when):
            die()


def work(asked: dict[str, Any]) -> None:
    """Does all steps from `start` on, then whatever is left."""
    with Path(asked["said"]).open("a") as said, Dying.open(asked["place"], create=True) as ledger:
        ledger.doomed = tuple(asked["die"]) if asked["die"] else None
        how = How.open(asked["bundle"])
        with ledger.write() as connection:
            add_site(connection, code="STR1")
            if connection.execute(select(schema.Person.id)).first() is None:
                add_person(connection, name="rita", role="reviewer", by="tests")
        for number in range(asked["start"], len(STEPS)):
            kind, *told = STEPS[number]
            DOING[kind](ledger, how, Path(asked["folder"]), *told)
            print(number, file=said, flush=True)
        _reconcile(ledger, how)
        print("done", ledger.written, file=said, flush=True)


def record(ledger: Ledger, how: How, folder: Path, code: str, quantity: int, at: float) -> None:
    with ledger.write() as connection:
        take_record(
            connection, site_of(connection), bin=code, quantity=quantity, effective_at=_hour(at), source="tests",
            create_bins=True,
        )  # fmt: skip
    _reconcile(ledger, how)


def move(ledger: Ledger, how: How, folder: Path, code: str, quantity: int, at: float) -> None:
    with ledger.write() as connection:
        take_movement(connection, site_of(connection), bin=code, quantity=quantity, moved_at=_hour(at))
    _reconcile(ledger, how)


def photo(ledger: Ledger, how: How, folder: Path, code: str, count: int | None, at: float) -> None:
    seed = round(10 * at) + 1000 * ord(code)
    data = b"no photo" if count is None else bin_photo(count, height_px=32, width_px=48, seed=seed)
    take_and_judge(ledger=ledger, how=how, bin=code, photo=data, taken_at=_hour(at), folder=folder)


def decision(ledger: Ledger, how: How, folder: Path, code: str, kind: Any, count: int | None) -> None:
    """Taken in one transaction, decided in another; whoever comes back finds what they had taken."""
    key = hashlib.sha256(f"{code} {kind} {count}".encode()).hexdigest()
    with ledger.write() as connection:
        rita, site = person_of(connection, "rita"), site_of(connection)
        done = connection.execute(select(schema.Decision.id).where(schema.Decision.key == key)).first()
        mine = [each for each in held(connection, rita, site, at=DECIDED_AT) if each.review.bin == code]
        if done:
            leased = None
        elif mine:
            leased = mine[0]
        else:
            leased = take(connection, rita, site, at=DECIDED_AT, review_id=_open(connection, code))
            assert leased is not None
    if leased is not None:
        with ledger.write() as connection:
            decide(
                connection, review_id=leased.review.review_id, person=rita, token=leased.token, kind=kind, count=count,
                key=key, at=DECIDED_AT,
            )  # fmt: skip
    _reconcile(ledger, how)


def _open(connection: Connection, code: str) -> int:
    return connection.execute(
        select(schema.Review.id)
        .join(schema.Bin, schema.Bin.id == schema.Review.bin_id)
        .where(schema.Bin.code == code, schema.Review.state == "open")
    ).scalar_one()


def _reconcile(ledger: Ledger, how: How) -> None:
    reconcile_ledger(ledger=ledger, bundle=how.bundle.folder, policy=how.policy, follow=how.follow)


def _hour(number: float) -> datetime:
    return MORNING + timedelta(hours=number)


DOING: dict[str, Callable[..., None]] = {"record": record, "move": move, "photo": photo, "decide": decision}

if __name__ == "__main__":
    fork_for_each(work)
