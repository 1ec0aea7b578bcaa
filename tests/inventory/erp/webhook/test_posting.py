"""From a decision to the receiver: each correction is taken once, in order, whatever the receiver answers."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import select

from bintally.database import audit
from bintally.errors import ErpError
from bintally.inventory.erp import connections
from bintally.inventory.erp.connections import ErpConnection, connection_of
from bintally.inventory.erp.relay import PostReport, post
from bintally.inventory.erp.run import connect_erp, post_corrections
from bintally.inventory.ledger import Ledger
from bintally.inventory.people import person_of
from tests.inventory.erp.desks import EVENING, SKU, connected, corrected, states, undone
from tests.inventory.erp.webhook.bench import SECRET, WebhookBench
from tests.inventory.review.desks import NOON
from tests.inventory.worlds import World

HOURS = timedelta(hours=1)


class Yard:
    """A ledger whose corrections go to the receiver. Bins are its own."""

    def __init__(self, ledger: Ledger, hook: WebhookBench) -> None:
        self.ledger, self.hook = ledger, hook
        self.connector = hook.connect(timeout_s=1)
        self.bins = [hook.new_bin() for _ in range(3)]
        with ledger.write() as connection:
            self.world = World.new(connection)
            self.to = connected(ledger, self.world, "hook")
            self.told = [corrected(self.world, code) for code in self.bins]

    def post(self, hours: int = 0) -> PostReport:
        return post(self.ledger, self.to, self.connector, clock=lambda: EVENING + hours * HOURS, lease_s=5.0)

    def connection(self) -> ErpConnection:
        with self.ledger.read() as connection:
            return connection_of(connection, "hook")

    def changes(self) -> list[dict[str, int]]:
        """What the receiver has booked of each bin."""
        return [dict(self.hook.held(code)) for code in self.bins]


@pytest.fixture
def yard(file_ledger: Ledger, hook: WebhookBench) -> Iterator[Yard]:
    made = Yard(file_ledger, hook)
    yield made
    made.connector.close()


@pytest.mark.parametrize("fault", ["after", "slow", "500", "410", "409", "301:Location=/", "ping 503", "ping 410"])
def test_whatever_goes_wrong_once_each_is_taken_once(yard: Yard, fault: str) -> None:
    for code in yard.bins:
        yard.hook.put(code, SKU, 4)
    yard.hook.faults(fault)
    for hour in range(4):
        with suppress(ErpError):
            yard.post(hour)
        if yard.connection().paused_at is not None:
            resume(yard)
    assert yard.hook.state()["faults"] == []
    assert yard.changes() == [{SKU: 3}] * 3
    assert states(yard.ledger) == [("adjust", "posted")] * 3


def test_one_event_that_always_fails_holds_up_its_bin_only(yard: Yard) -> None:
    for hour in range(6):
        yard.hook.faults("500")  # the first that is sent is the first bin's
        yard.post(hour * 2)
    undone(yard.ledger, yard.world, yard.told[0], at=20 * HOURS)
    yard.hook.faults()
    assert yard.post(15).posted == 2
    ids = [event["subject"] for event in yard.hook.state()["events"] if event.get("subject") in yard.bins]
    assert yard.changes() == [{SKU: 0}, {SKU: -1}, {SKU: -1}]
    assert states(yard.ledger)[-1] == ("reverse", "posted")
    assert set(ids[-2:]) == {yard.bins[0]}


def test_a_receiver_that_wants_no_more_is_told_no_more_until_a_person_says_so(yard: Yard) -> None:
    yard.hook.faults('410:{"detail": "moved to another system"}')
    assert yard.post().posted == 0
    paused = yard.connection()
    assert paused.paused_at == EVENING
    assert "wants no more events" in paused.away_why
    seen = len(yard.hook.state()["events"])
    assert yard.post(1) == PostReport(connection="hook", made=0, posted=0, stale=0, refused=0, failed=0, paused=True)
    assert len(yard.hook.state()["events"]) == seen
    with yard.ledger.read() as connection:
        lines = select(audit.AuditLine.body).where(audit.AuditLine.action == "erp.pause")
        assert "wants no more events" in str(connection.execute(lines).scalar_one())
    resume(yard)
    assert yard.post(2).posted == 3
    assert yard.connection().away_since is None


def test_a_correction_and_its_undoing_come_in_order(yard: Yard) -> None:
    yard.hook.faults("before", "ping 503")
    yard.post()
    undone(yard.ledger, yard.world, yard.told[0])
    yard.hook.faults()
    for hour in (1, 2):
        yard.post(hour)
    kinds = [event["data"]["kind"] for event in yard.hook.state()["events"] if event.get("subject") == yard.bins[0]]
    assert kinds == ["adjust", "adjust", "reverse"]
    assert yard.changes() == [{SKU: 0}, {SKU: -1}, {SKU: -1}]


def test_it_is_connected_by_its_name(
    new_place: Callable[[str], str], hook: WebhookBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINTALLY_ERP_HOOK_SECRET", SECRET)
    place, code = new_place("sqlite"), hook.new_bin()
    since, settings = NOON - timedelta(days=1), {"url": f"{hook.url}/stock"}
    with Ledger.open(place, create=True) as ledger:
        with ledger.write() as connection:
            corrected(World.new(connection), code)
        made = connect_erp(ledger=ledger, name="hook", kind="webhook", settings=settings, by="adam", since=since)
    assert made.about is not None
    assert not made.about.reads
    assert post_corrections(ledger=place, connection="hook").posted == 1
    assert hook.held(code) == {SKU: -1}
    [event] = [event for event in hook.state()["events"] if event.get("subject") == code]
    assert event["data"]["by"] == "rita"


def resume(yard: Yard) -> None:
    with yard.ledger.write() as connection:
        adam = person_of(connection, "adam")
        connections.pause(connection, "hook", paused=False, by=adam, at=EVENING)
