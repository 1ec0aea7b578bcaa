"""A shop whose bins are followed: its ledger, and what a service makes of photos of its bins.

with Shop(stock(place), counter, tmp_path) as shop:
    judged = shop.sends("A", 3, at=1)
"""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
from sqlalchemy import create_engine, select, text

from bintally.counting.counter import Counter
from bintally.database.types import Table
from bintally.inventory.intake import take_record
from bintally.inventory.ledger import Ledger, add_site
from bintally.records import CountEstimate
from bintally.serving.asked import Asked
from bintally.serving.bins.breaker import Breaker
from bintally.serving.bins.delivery import Delivery
from bintally.serving.bins.known import KnownBins
from bintally.serving.bins.ledger_place import LedgerPlace
from bintally.serving.bins.spool import Spool
from bintally.serving.bins.taking import Taker
from bintally.serving.service import Judged
from tests.inventory.judging.yard import hour, shown

BINS = {"A": 3, "B": 5, "C": 2}
T = TypeVar("T")


def stock(place: str) -> str:
    """Makes the ledger at `place`: the site STR1, whose records of A, B and C say 3, 5 and 2."""
    with Ledger.open(place, create=True) as ledger, ledger.write() as connection:
        site = add_site(connection, code="STR1")
        for code, quantity in BINS.items():
            take_record(
                connection, site, bin=code, quantity=quantity, effective_at=hour(0), source="tests", create_bins=True
            )
    return place


class Shop:
    """A service's part for bins, without doors. It waits for others who write for 0.1 s only."""

    def __init__(
        self,
        place: str,
        counter: Counter,
        folder: Path,
        *,
        spool_bytes: int = 2**20,
        patience_s: float = 30.0,
        wait_s: float = 0.1,
    ) -> None:
        self.place, self.counter, self.folder = place, counter, folder
        self.photos = folder / "photos"
        self.clock = Clock()
        self.taker = Taker(LedgerPlace(place, wait_s=wait_s), photos=self.photos)
        self.spool = Spool(folder / "spool", max_bytes=spool_bytes)
        self.known = KnownBins(
            self.taker, self.spool, lambda: counter, breaker=Breaker(self.clock), patience_s=patience_s
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.known.close()

    def delivery(self, code: str, count: float, *, at: float | None, **told: Any) -> Delivery:
        """A photo that shows so many items, counted; `at` hours after the morning, None: nobody says when."""
        photo = told.pop("photo", None) or shown(code, count, at or 0)
        received_at = told.pop("received_at", None) or datetime.now(UTC)
        asked = Asked(bin_id=code, captured_at=None if at is None else hour(at), **told)
        made = Delivery.of(asked, photo, self.counter.count(photo), self.counter.card)
        return replaced(made, received_at=received_at)

    def sends(self, code: str, count: float, *, at: float | None, **told: Any) -> Judged:
        """A request is answered."""
        return self.takes(self.delivery(code, count, at=at, **told))

    def takes(self, delivery: Delivery, *, left_s: float = float("inf")) -> Judged:
        """The same of a delivery."""
        return run(self.known.take(delivery, self.counter, left_s=left_s))

    def empties(self) -> int:
        """What waits is taken in, as far as that goes; how much that is."""
        self.clock.passes(60.0)
        taken = 0
        while number := run(self.known._round()):
            taken += number
        return taken

    def empties_all(self) -> None:
        """Until nothing waits: on a busy machine the ledger may be away for a moment by itself."""
        for _ in range(100):
            self.empties()
            if not self.spool.waiting():
                return
        raise AssertionError(self.known.failures)

    def rows(self, table: type[Table]) -> list[Any]:
        """All rows of a table, in order."""
        with Ledger.open(self.place) as ledger, ledger.read() as connection:
            return list(connection.execute(select(table.__table__).order_by(text("1"))).all())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Somebody else writes, for long: a migration, or a big file that is loaded."""
        engine = create_engine(
            self.place.replace("postgresql://", "postgresql+psycopg://")
            if "://" in self.place
            else f"sqlite:///{self.place}"
        )
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.exec_driver_sql("LOCK TABLE photo, bin IN ACCESS EXCLUSIVE MODE")
            yield
            connection.rollback()
        engine.dispose()


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        """So many seconds pass."""
        self.now += seconds


def run(awaited: Awaitable[T]) -> T:
    """In a loop of its own."""

    async def inside() -> T:
        return await awaited

    return asyncio.run(inside())


def replaced(delivery: Delivery, **changes: Any) -> Delivery:
    """A delivery with other fields."""
    return msgspec.structs.replace(delivery, **changes)


def wrong_estimate(count: int) -> CountEstimate:
    """What the network would never say of a photo with another count."""
    shares = {key: 0.94 if key == str(count) else 0.01 for key in ("0", "1", "2", "3", "4", "5", "6+")}
    return CountEstimate(count=count, expected_count=float(count), probabilities=shares, model="tiny")
