"""connect_erp, post_corrections, pull_stock, recount_bin: what is done with stock systems, from a ledger's place on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from bintally.database.types import now
from bintally.inventory.erp import connections, dead_letters
from bintally.inventory.erp.connections import ErpConnection, connection_of, open_connector
from bintally.inventory.erp.dead_letters import Recount
from bintally.inventory.erp.guarded import Guarded
from bintally.inventory.erp.kinds import kind_of
from bintally.inventory.erp.protocol import About, Connector, Stock
from bintally.inventory.erp.pull import PullReport, pull
from bintally.inventory.erp.relay import PostReport, post
from bintally.inventory.ledger import Ledger, site_of
from bintally.inventory.people import person_of
from bintally.progress import SILENT, Progress


class Connected(msgspec.Struct, frozen=True):
    """A stock system that is connected. `about`: what answered; None: nobody asked."""

    connection: ErpConnection
    about: About | None


def connect_erp(
    *,
    ledger: Ledger,
    name: str,
    kind: str,
    settings: Mapping[str, Any],
    by: str,
    site: str | None = None,
    since: datetime | None = None,
    check: bool = True,
) -> Connected:
    """Connects a stock system, or changes its settings, as the admin `by`; `since` None: corrections from now on.

    `check`: it is reached first, and asked whether we may do there what we have to; if not, nothing is changed.

    Raises:
        UsageError, ConfigError, AccessError, ConflictError: as `connections.connect`.
        ErpError: it can't be reached, or does not let us in.
    """
    at = now()
    values: dict[str, Any] = {"name": name, "kind": kind, "settings": settings, "since": since, "at": at}
    about = None
    if check:
        with ledger.read() as connection:  # before anybody is reached
            person_of(connection, by).need("admin", site_id=site_of(connection, site).id)
        known = kind_of(kind)
        checked = known.settings.of(settings, where=f"settings of {name}")
        with closing(connections.connector_of(known, checked, name)) as connector:
            about = Guarded(connector).about()
    with ledger.write() as connection:
        made = connections.connect(connection, site_of(connection, site), by=person_of(connection, by), **values)
        if about is not None:
            connections.note_reached(connection, made, at=at)
        return Connected(connection_of(connection, made.name), about)


def post_corrections(*, ledger: str | Path, connection: str | None = None, progress: Progress = SILENT) -> PostReport:
    """Tells a stock system the corrections that it has not been told, each exactly once; None: the only one.

    Raises:
        UsageError: no such ledger or connection.
        ErpError: it can't be reached, or does not let us in; nothing was sent.
        ConflictError: somebody else is at it.
        StorageError: the ledger can't be reached or written; run it again.
    """
    with Ledger.open(ledger) as held, reached(held, connection) as (to, connector):
        return post(held, to, connector, progress=progress)


def pull_stock(
    *,
    ledger: str | Path,
    connection: str | None = None,
    bins: Sequence[str] | None = None,
    create_bins: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> PullReport:
    """Takes in what a stock system says is in `bins` (None: in all) as new versions of their records.

    Raises:
        UsageError: no such ledger or connection, or it does not tell what it holds.
        ErpError: it can't be reached; nothing was changed.
    """
    with Ledger.open(ledger) as held, reached(held, connection) as (to, connector):
        return pull(held, to, connector, bins=bins, create_bins=create_bins, dry_run=dry_run, progress=progress)


def recount_bin(
    *, ledger: Ledger, posting_id: int, by: str, anyway: bool = False, clock: Callable[[], datetime] = now
) -> Recount:
    """Has the bin of a posting counted anew that waits for a person, against what the stock system says by now.

    Raises:
        UsageError, AccessError, ConflictError, DataError: as `dead_letters.recount`.
        ErpError: the stock system can't be reached; nothing was changed.
    """
    with ledger.read() as connection:
        to = dead_letters.connection_told(connection, posting_id)
        code = dead_letters.bin_told(connection, posting_id)
    with closing(open_connector(to)) as connector:
        stock = _stock(Guarded(connector), code, clock())
    with ledger.write() as connection:
        person = person_of(connection, by)
        return dead_letters.recount(connection, posting_id, by=person, at=clock(), to=to, stock=stock, anyway=anyway)


@contextmanager
def reached(ledger: Ledger, name: str | None) -> Iterator[tuple[ErpConnection, Connector]]:
    """A connection (None: the only one), and a connector to it.

    Raises:
        UsageError: there is none of that name.
    """
    with ledger.read() as connection:
        to = connection_of(connection, name)
    with closing(open_connector(to)) as connector:
        yield to, connector


def _stock(connector: Connector, code: str, at: datetime) -> Stock | None:
    """What is in a bin; one that the stock system does not know is empty; None: it does not tell."""
    if not connector.about().reads:
        return None
    return next(iter(connector.read([code])), Stock(bin=code, lines={}, as_of=at))
