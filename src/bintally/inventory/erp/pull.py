"""`pull`: what a stock system says is in bins becomes new versions of the ledger's records.

What it says again is no new version. A bin with a correction that has not reached it yet is left alone, since the
ledger knows better there: one that waits for a second person, one in the outbox, or one that was posted while the
stock system was being read.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, exists, func, select

from bintally.database import audit
from bintally.database.types import now
from bintally.errors import DataError, UsageError
from bintally.inventory import schema
from bintally.inventory.erp import filling
from bintally.inventory.erp.books import reach
from bintally.inventory.erp.connections import ErpConnection, site_told
from bintally.inventory.erp.guarded import Guarded
from bintally.inventory.erp.outbox import OPEN
from bintally.inventory.erp.protocol import Connector, Stock
from bintally.inventory.intake import take_record
from bintally.inventory.ledger import Ledger
from bintally.inventory.people import SYSTEM
from bintally.inventory.values import digest
from bintally.progress import SILENT, Progress

_AT_ONCE: Final = 500
_LONGEST_KEY: Final = 150


class NotTaken(msgspec.Struct, frozen=True):
    """A bin whose stock can't be taken in, and why."""

    bin: str
    why: str


class Changed(msgspec.Struct, frozen=True):
    """A bin whose record has a new version: what it said (None: nothing yet), and what it says."""

    bin: str
    before: int | None
    after: int


class PullReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was read, bins that it tells of no more among it.

    `waiting`: bins with corrections that the stock system does not know of, which were left alone.
    """

    connection: str
    read: int  # bins
    same: int
    changed: tuple[Changed, ...]
    waiting: tuple[str, ...]
    rejected: tuple[NotTaken, ...]
    dry_run: bool = False


def pull(
    ledger: Ledger,
    to: ErpConnection,
    connector: Connector,
    *,
    bins: Sequence[str] | None = None,
    create_bins: bool = False,
    dry_run: bool = False,
    by: str = SYSTEM,
    clock: Callable[[], datetime] = now,
    progress: Progress = SILENT,
) -> PullReport:
    """Takes in what the stock system says is in `bins` (None: in all). Unknown bins and products are told, not lost.

    Of a bin that it has told of before and does not tell of any more, it says that it is empty.

    Raises:
        ErpError: the stock system can't be reached; nothing was changed.
        UsageError: it does not tell what it holds.
    """
    guarded = Guarded(connector)
    about = guarded.about() if dry_run else reach(ledger, to, guarded, clock)
    if not about.reads:
        raise UsageError(
            f"{to.name} does not tell what it holds.", hint="`bintally ledger import records` takes it in."
        )
    taking = _Taking(ledger, to, clock, by=by, create_bins=create_bins, dry_run=dry_run)
    stocks = {stock.bin: stock for stock in guarded.read(bins)}
    told = [*stocks.values(), *taking.emptied(stocks, bins)] if stocks or bins is not None else []
    with progress.task("pull", total=len(told), unit="bins") as task:
        for start in range(0, len(told), _AT_ONCE):
            some = told[start : start + _AT_ONCE]
            taking.take(some)
            task.advance(len(some))
    return PullReport(
        connection=to.name,
        read=len(told),
        same=taking.same,
        changed=tuple(taking.changed),
        waiting=tuple(taking.waiting),
        rejected=tuple(taking.rejected),
        dry_run=dry_run,
    )


class _Taking:
    """Takes stock in, some bins in a transaction. Make it before the stock system is read."""

    def __init__(
        self,
        ledger: Ledger,
        to: ErpConnection,
        clock: Callable[[], datetime],
        *,
        by: str,
        create_bins: bool,
        dry_run: bool,
    ) -> None:
        self._ledger, self._to, self._clock, self._by = ledger, to, clock, by
        self._create_bins, self._dry_run = create_bins, dry_run
        self.same = 0
        self.changed: list[Changed] = []
        self.waiting: list[str] = []
        self.rejected: list[NotTaken] = []
        with ledger.read() as connection:
            self._site = site_told(connection, to)
            self._busy, self._last = busy_bins(connection, to), _last_posting(connection)
            self._looked = audit.head(connection).number

    def emptied(self, stocks: Iterable[str], bins: Sequence[str] | None) -> list[Stock]:
        """Empty bins: the stock system has told of them before, and does not any more. Of others it has none."""
        record, place = schema.StockRecord, schema.Bin
        pulled = exists().where(record.bin_id == place.id, record.source == self._to.name)
        query = select(place.code).where(place.site_id == self._site.id, pulled)
        with self._ledger.read() as connection:
            known = set(connection.execute(query).scalars())
        asked = known if bins is None else set(bins)
        missing = sorted(asked.difference(known, stocks))
        self.rejected += [NotTaken(code, f"{self._to.name} has no such bin.") for code in missing]
        gone = asked.intersection(known).difference(stocks)
        return [Stock(bin=code, lines={}, as_of=self._clock()) for code in sorted(gone)]

    def take(self, stocks: Sequence[Stock]) -> None:
        """New versions of some bins' records."""
        with self._ledger.write() as connection:
            known = newest(connection, self._site.id, [stock.bin for stock in stocks])
            self._busy |= busy_bins(connection, self._to, since=self._last, after=self._looked)
            self._looked = audit.head(connection).number
            for stock in stocks:
                held = known.get(stock.bin)
                if held is not None and held.bin_id in self._busy:
                    self.waiting.append(stock.bin)
                elif held is not None and held.says(stock):
                    self.same += 1
                else:
                    self._take(connection, stock, held)

    def _take(self, connection: Connection, stock: Stock, held: "Newest | None") -> None:
        try:
            with connection.begin_nested() as tried:
                take_stock(
                    connection, self._to, stock, held, at=self._clock(), by=self._by, create_bins=self._create_bins
                )
                if self._dry_run:
                    tried.rollback()
        except DataError as error:
            self.rejected.append(NotTaken(stock.bin, error.message))
        else:
            self.changed.append(Changed(stock.bin, None if held is None else held.quantity, stock.quantity))


class Newest(msgspec.Struct, frozen=True):
    """A bin, and what its record in force says; None: it has none."""

    bin_id: int
    record_id: int | None
    quantity: int | None
    effective_at: datetime | None
    lines: dict[str, int]

    def says(self, stock: Stock) -> bool:
        """Whether that is what the stock system says."""
        return stock.why_not is None and self.quantity == stock.quantity and self.lines == _there(stock)


def take_stock(
    connection: Connection,
    to: ErpConnection,
    stock: Stock,
    held: Newest | None,
    *,
    at: datetime,
    by: str,
    create_bins: bool = False,
) -> int:
    """A new version of a bin's record, as the stock system says; its id.

    It is in force from when the stock system said so, but never from before the version that it follows on, nor from
    the future, whatever clocks say.

    Raises:
        DataError: an unknown bin or product, or a quantity that can't be.
    """
    if stock.why_not is not None:
        raise DataError(stock.why_not)
    effective_at = min(stock.as_of.astimezone(UTC), at)
    if held is not None and held.effective_at is not None:
        effective_at = max(effective_at, held.effective_at)
    lines = _there(stock)
    taken = take_record(
        connection,
        site_told(connection, to),
        bin=stock.bin,
        quantity=None if lines else 0,
        lines=lines,
        effective_at=effective_at,
        key=_key(connection, to, stock, held, effective_at),
        source=to.name,
        received_at=at,
        create_bins=create_bins,
        by=by,
    )
    return taken.id


def newest(connection: Connection, site_id: int, codes: Sequence[str]) -> dict[str, Newest]:
    """The records in force of a site's bins, by the bins' codes."""
    record, place, line, product = schema.StockRecord, schema.Bin, schema.StockLine, schema.Product
    order = (record.effective_at.desc(), record.id.desc())
    last = func.row_number().over(partition_by=record.bin_id, order_by=order).label("place")
    bins = select(place.id, place.code).where(place.site_id == site_id, place.code.in_(codes)).subquery()
    ranked = select(record.__table__, last).where(record.bin_id.in_(select(bins.c.id))).subquery()
    query = select(
        bins.c.id, bins.c.code, ranked.c.id.label("record_id"), ranked.c.quantity, ranked.c.effective_at
    ).outerjoin(ranked, (ranked.c.bin_id == bins.c.id) & (ranked.c.place == 1))
    rows = connection.execute(query).all()
    lines: dict[int, dict[str, int]] = {}
    told = select(line.record_id, product.sku, line.quantity).join(product, product.id == line.product_id)
    for each in connection.execute(told.where(line.record_id.in_([row.record_id for row in rows]))):
        if each.quantity:
            lines.setdefault(each.record_id, {})[each.sku] = each.quantity
    return {
        row.code: Newest(row.id, row.record_id, row.quantity, row.effective_at, lines.get(row.record_id, {}))
        for row in rows
    }


def busy_bins(connection: Connection, to: ErpConnection, *, since: int | None = None, after: int = 0) -> set[int]:
    """Bins of which the ledger knows more than the stock system.

    Something waits for a second person there, or in the outbox; or came into it after posting `since`; or is to come,
    says the audit log after line `after`.
    """
    posting, review = schema.Posting, schema.Review
    queries: list[Any] = [
        select(posting.bin_id).where(posting.connection_id == to.id, posting.state.in_(OPEN)),
        select(review.bin_id).where(review.state == "waiting"),
    ]
    if since is not None:
        queries.append(select(posting.bin_id).where(posting.connection_id == to.id, posting.id > since))
    waiting = {bin_id for query in queries for bin_id in connection.execute(query).scalars()}
    return waiting | filling.unheard_bins(connection, to, after=after)


def _last_posting(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.max(schema.Posting.id), 0))).scalar_one())


def _there(stock: Stock) -> dict[str, int]:
    return {sku: quantity for sku, quantity in stock.lines.items() if quantity}


def _key(connection: Connection, to: ErpConnection, stock: Stock, held: Newest | None, at: datetime) -> str:
    """The stock's version, or its moment; one more word where the bin had that before, and was corrected since."""
    moment = at.isoformat(timespec="microseconds")
    key = f"{to.name}:{stock.version or moment}"
    key = key if len(key) <= _LONGEST_KEY else digest(key)
    record = schema.StockRecord
    mine = select(record.id).where(record.bin_id == (held.bin_id if held else None), record.key == key)
    return key if connection.execute(mine).first() is None else f"{key}@{moment}-{held.record_id if held else 0}"
