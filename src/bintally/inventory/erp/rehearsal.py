"""`rehearse`: what `post` would send, and what would become of it; no correction is written down or sent."""

from collections.abc import Callable
from datetime import datetime

import msgspec

from bintally.database.types import now
from bintally.inventory.erp import filling, outbox
from bintally.inventory.erp.books import AT_ONCE
from bintally.inventory.erp.connections import ErpConnection, connection_of
from bintally.inventory.erp.expected import fits, moves_of
from bintally.inventory.erp.guarded import Guarded
from bintally.inventory.erp.outbox import Due
from bintally.inventory.erp.protocol import Connector, Line
from bintally.inventory.ledger import Ledger


class Rehearsed(msgspec.Struct, frozen=True):
    """A posting that is due, and what would become of it: "posted", "stale", "refused", or "found": it was before.

    "waiting": the connection is paused.
    """

    key: str
    kind: str
    bin: str
    lines: tuple[Line, ...]
    would: str
    reason: str = ""


def rehearse(
    ledger: Ledger, to: ErpConnection, connector: Connector, *, clock: Callable[[], datetime] = now
) -> list[Rehearsed]:
    """The next posting of each bin, as it would be sent now; of a connection that is paused, nobody is asked.

    Raises:
        ErpError: the stock system can't be reached, or does not let us in.
    """
    waiting = _due(ledger, to, clock())
    with ledger.read() as connection:
        to = connection_of(connection, to.name)
    if to.paused_at is not None:
        told = [each.posting for each in waiting]
        return [Rehearsed(each.key, each.kind, each.bin, each.lines, "waiting", "paused") for each in told]
    guarded = Guarded(connector)
    reads = guarded.about().reads
    rehearsed: list[Rehearsed] = []
    for start in range(0, len(waiting), AT_ONCE):
        rehearsed += _some(ledger, to, guarded, waiting[start : start + AT_ONCE], reads=reads)
    return rehearsed


def _due(ledger: Ledger, to: ErpConnection, at: datetime) -> list[Due]:
    """What would be begun, found out by beginning it in a transaction that is taken back."""
    with ledger.write() as connection, connection.begin_nested() as tried:
        filling.fill(connection, to, at=at)
        while filling.is_behind(connection, to):
            filling.fill(connection, to, at=at)
        due = outbox.due(connection, to, at=at, limit=None)
        tried.rollback()
    return due


def _some(ledger: Ledger, to: ErpConnection, connector: Connector, some: list[Due], *, reads: bool) -> list[Rehearsed]:
    found = {key for key, draft in connector.find([each.posting.key for each in some]).items() if draft.fate == "done"}
    bins = sorted({each.posting.bin for each in some if each.posting.key not in found})
    stocks = {stock.bin: stock for stock in connector.read(bins)} if reads and bins else {}
    with ledger.read() as connection:
        moves = {each.posting.key: moves_of(connection, each) for each in some}
    told = []
    for posting in (each.posting for each in some):
        row = Rehearsed(posting.key, posting.kind, posting.bin, posting.lines, "posted")
        if posting.key in found:
            row = msgspec.structs.replace(row, would="found", reason="it was carried out before")
        elif reads:
            fit = fits(posting, stocks.get(posting.bin), moves[posting.key], name=to.name)
            row = msgspec.structs.replace(
                row, would=fit.state or "posted", lines=fit.lines or posting.lines, reason=fit.reason
            )
        told.append(row)
    return told
