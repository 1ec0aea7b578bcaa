"""Posting again and again, through outages, until it is stopped."""

import threading
from collections.abc import Callable

import pytest

from bintally.database import leases
from bintally.errors import UsageError
from bintally.inventory.erp.connections import ErpConnection
from bintally.inventory.erp.relay import PostReport
from bintally.inventory.erp.watch import Told, watch
from bintally.inventory.ledger import Ledger
from tests.inventory.erp.desks import SKU, connected, corrected
from tests.inventory.erp.notebook import Notebook
from tests.inventory.worlds import World


class Watcher:
    """Hears of each run, does what a test wants then, and stops after some."""

    def __init__(self, *after: Callable[[], None], runs: int) -> None:
        self.stopping, self.told, self._after, self._runs = threading.Event(), list[Told](), list(after), runs

    def hear(self, told: Told) -> None:
        self.told.append(told)
        if self._after:
            self._after.pop(0)()
        if len(self.told) >= self._runs:
            self.stopping.set()

    def watch(self, ledger: Ledger, erp: Notebook, name: str | None = None) -> list[str]:
        def connect(to: ErpConnection) -> Notebook:
            return erp

        watch(ledger, name, every_s=0.01, stopping=self.stopping, tell=self.hear, connect=connect)
        return [str(told.posted) if isinstance(told, PostReport) else type(told).__name__ for told in self.told]


@pytest.fixture
def world(file_ledger: Ledger, erp: Notebook) -> World:
    with file_ledger.write() as connection:
        world = World.new(connection)
        connected(file_ledger, world)
        corrected(world, "A-1")
    erp.put("A-1", **{SKU: 4})
    return world


def test_it_goes_on_through_outages(file_ledger: Ledger, erp: Notebook, world: World) -> None:
    erp.faults = [("about", "before"), ("about", "refused"), ("about", "broken")]
    heard = Watcher(runs=5).watch(file_ledger, erp)
    assert heard == ["ErpUnavailableError", "ErpRefusedError", "ErpUnavailableError", "1", "0"]


def test_it_waits_for_another_who_is_at_it(file_ledger: Ledger, erp: Notebook, world: World) -> None:
    lease = leases.Lease(file_ledger, "erp:notebook", by="somebody", seconds=60.0)
    lease.start()
    assert Watcher(lease.end, runs=2).watch(file_ledger, erp) == ["ConflictError", "1"]


def test_it_posts_what_is_decided_meanwhile(file_ledger: Ledger, erp: Notebook, world: World) -> None:
    def decide() -> None:
        with file_ledger.write() as connection:
            world.connection = connection
            corrected(world, "A-2")
        erp.put("A-2", **{SKU: 4})

    assert Watcher(decide, runs=2).watch(file_ledger, erp) == ["1", "1"]


def test_stopped_it_ends_the_batch_under_way(file_ledger: Ledger, erp: Notebook, world: World) -> None:
    watcher = Watcher(runs=1)
    inner = erp.commit

    def commit(drafts: list[object]) -> object:
        watcher.stopping.set()
        return inner(drafts)  # type: ignore[arg-type]

    erp.commit = commit  # type: ignore[assignment, method-assign]
    assert watcher.watch(file_ledger, erp) == ["1"]


def test_there_must_be_such_a_connection(file_ledger: Ledger, erp: Notebook, world: World) -> None:
    with pytest.raises(UsageError, match="notebok"):
        Watcher(runs=1).watch(file_ledger, erp, "notebok")
