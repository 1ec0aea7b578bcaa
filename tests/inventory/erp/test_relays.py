"""Several relays: processes that race, and one that is stopped for longer than its lease lasts."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bintally.errors import ConflictError
from bintally.inventory.erp.connections import connection_of
from bintally.inventory.erp.relay import PostReport
from bintally.inventory.ledger import Ledger
from tests.inventory.erp.checks import all_told
from tests.inventory.erp.desks import SKU, connected, corrected, posted
from tests.inventory.erp.notebook import Notebook
from tests.inventory.worlds import HOUR, World

ROOT = Path(__file__).parents[3]

RELAY = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from bintally.errors import ConflictError
from bintally.inventory.erp.connections import connection_of
from bintally.inventory.erp.relay import post
from bintally.inventory.ledger import Ledger
from tests.inventory.erp.desks import EVENING
from tests.inventory.erp.notebook import Notebook

class Stopping(Notebook):
    def _call(self, name, do, **how):
        if name == {stop_in!r}:
            Path({mark!r}).touch()
            time.sleep(1.0)  # it is stopped meanwhile
        return super()._call(name, do, **how)

with Ledger.open({place!r}) as ledger:
    with ledger.read() as connection:
        to = connection_of(connection)
    for _ in range(200):
        try:
            post(ledger, to, Stopping(Path({erp!r})), clock=lambda: EVENING, lease_s={lease_s})
            break
        except ConflictError as error:
            if "so long without a word" in str(error):
                sys.exit(3)
            time.sleep(0.05)
"""


def relay(place: str, erp: Notebook, *, stop_in: str = "", lease_s: float = 20.0) -> "subprocess.Popen[str]":
    told = {
        "root": str(ROOT), "place": place, "erp": str(erp.path), "stop_in": stop_in, "lease_s": lease_s,
        "mark": f"{erp.path}.mark",
    }  # fmt: skip
    return subprocess.Popen([sys.executable, "-c", RELAY.format(**told)], stderr=subprocess.PIPE, text=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, new_place: Callable[[str], str], erp: Notebook) -> str:
    place = new_place(request.param)
    with Ledger.open(place, create=True) as ledger, ledger.write() as connection:
        world = World.new(connection)
        connected(ledger, world)
        for number in range(6):
            corrected(world, f"A-{number}")
            erp.put(f"A-{number}", **{SKU: 4})
    return place


def test_relays_that_race_post_each_correction_once(place: str, erp: Notebook) -> None:
    running = [relay(place, erp) for _ in range(3)]
    for each in running:
        _, errors = each.communicate(timeout=120)
        assert each.returncode == 0, errors
    with Ledger.open(place) as ledger:
        all_told(ledger, erp)
    assert len(erp.moves()) == 6


@pytest.mark.parametrize("call", ["prepare", "commit"])
def test_one_that_was_stopped_for_longer_than_its_lease_posts_nothing_more(
    place: str, erp: Notebook, call: str
) -> None:
    stopped = relay(place, erp, stop_in=call, lease_s=2.0)
    mark = Path(f"{erp.path}.mark")
    for _ in range(600):
        if mark.exists():
            break
        time.sleep(0.1)
    os.kill(stopped.pid, signal.SIGSTOP)
    try:
        with Ledger.open(place) as ledger:
            assert _as_soon_as_it_may(ledger, erp).posted == 6
    finally:
        os.kill(stopped.pid, signal.SIGCONT)
    _, errors = stopped.communicate(timeout=120)
    assert stopped.returncode == 3, errors
    with Ledger.open(place) as ledger:
        all_told(ledger, erp)
    assert len(erp.moves()) == 6


def _as_soon_as_it_may(ledger: Ledger, erp: Notebook) -> PostReport:
    with ledger.read() as connection:
        to = connection_of(connection)
    for _ in range(200):
        try:
            return posted(ledger, to, erp, at=HOUR)
        except ConflictError:
            time.sleep(0.1)
    raise AssertionError("the lease of the one that was stopped has not ended")
