"""`watch`: posts again and again, through outages of the stock system and of the ledger, until it is stopped."""

import threading
from collections.abc import Callable
from contextlib import closing
from typing import TypeAlias

from bintally.errors import BintallyError, ConflictError, ErpError, StorageError
from bintally.inventory.erp.connections import ErpConnection, connection_of, open_connector
from bintally.inventory.erp.protocol import Connector
from bintally.inventory.erp.relay import PostReport, post
from bintally.inventory.ledger import Ledger

Told: TypeAlias = PostReport | BintallyError


def watch(
    ledger: Ledger,
    name: str | None,
    *,
    every_s: float,
    stopping: threading.Event,
    tell: Callable[[Told], None],
    connect: Callable[[ErpConnection], Connector] = open_connector,
) -> None:
    """Posts every `every_s` seconds until `stopping` is set: a batch that is under way is ended first.

    `tell` hears of every run, also of one that failed: the stock system or the ledger was away, or another relay at it.

    Raises:
        UsageError: there is no such connection (any more), or its settings are wrong.
    """
    while not stopping.is_set():
        try:
            _while_it_goes(ledger, name, every_s, stopping, tell, connect)
        except (ErpError, StorageError, ConflictError) as error:
            tell(error)
            stopping.wait(every_s)


def _while_it_goes(
    ledger: Ledger,
    name: str | None,
    every_s: float,
    stopping: threading.Event,
    tell: Callable[[Told], None],
    connect: Callable[[ErpConnection], Connector],
) -> None:
    """Keeps one connector as long as nothing fails and nobody changes the settings."""
    with ledger.read() as connection:
        to = connection_of(connection, name)
    with closing(connect(to)) as connector:
        while not stopping.is_set():
            with ledger.read() as connection:
                if connection_of(connection, name).settings != to.settings:
                    return
            tell(post(ledger, to, connector, is_over=stopping.is_set))
            stopping.wait(every_s)
