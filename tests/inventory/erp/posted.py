"""A correction of one bin is posted to a contract server, by the relay, through whatever its faults are."""

from collections.abc import Callable
from datetime import datetime
from functools import partial

from bintally.inventory.erp.protocol import Connector
from bintally.inventory.erp.relay import PostReport, post
from bintally.inventory.ledger import Ledger
from tests.inventory.erp.desks import EVENING, connected, corrected
from tests.inventory.worlds import HOUR, World

ROUNDS = 4


def posted_in_rounds(
    ledger: Ledger,
    make: Callable[[], Connector],
    *,
    bins: tuple[str, ...] = ("A-1",),
    rounds: int = ROUNDS,
    prepare: Callable[[World], object] | None = None,
) -> list[PostReport]:
    """Corrections of 4 to 3, and what each of some runs of the relay did, an hour apart, with a new connector each."""
    with ledger.write() as connection:
        world = World.new(connection)
        to = connected(ledger, world)
        for code in bins:
            corrected(world, code)
        if prepare is not None:
            prepare(world)
    reports = []
    for hour in range(rounds):
        connector, at = make(), EVENING + hour * HOUR
        reports.append(post(ledger, to, connector, clock=partial(datetime.astimezone, at), lease_s=5.0))
        connector.close()
    return reports
