"""kill -9 under load: whatever was acknowledged is kept exactly once, with the very answer that was acknowledged."""

import hashlib
import os
import random
import signal
import time
from collections import Counter as Tally
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select

from bintally.database import audit
from bintally.inventory import schema
from bintally.inventory.intake import take_bin
from bintally.inventory.ledger import Ledger, add_site
from bintally.monitoring.capture_files import capture_files
from bintally.monitoring.capture_reader import read_captures
from tests.databases import new_ledger
from tests.serving.killing import WAIT_S, Sender, Served

BINS = ("A", "B", "C")
Kill = Callable[[Served, random.Random], None]


def kill_all(served: Served, _chance: random.Random) -> None:
    """The whole service, started again by whoever looks after it."""
    served.kill()
    served.start()


def kill_one_worker(served: Served, chance: random.Random) -> None:
    """One worker of it, started again by the service itself."""
    workers = served.workers()
    if workers:
        os.kill(chance.choice(workers), signal.SIGKILL)


def kill_either(served: Served, chance: random.Random) -> None:
    """One worker, mostly."""
    (kill_all if chance.random() < 0.3 else kill_one_worker)(served, chance)


@pytest.mark.parametrize(("workers", "kill", "times"), [(1, kill_all, 2), (2, kill_one_worker, 2)])
def test_what_was_acknowledged_is_kept_exactly_once(
    bundle: Path, tmp_path: Path, workers: int, kill: Kill, times: int
) -> None:
    survives(bundle, tmp_path, workers=workers, kill=kill, times=times, seed=workers)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("workers", "kill"), [(1, kill_all), (2, kill_either)])
def test_fifty_kills(bundle: Path, tmp_path: Path, workers: int, kill: Kill) -> None:
    survives(bundle, tmp_path, workers=workers, kill=kill, times=50, seed=10 + workers)


def survives(bundle: Path, folder: Path, *, workers: int, kill: Kill, times: int, seed: int) -> None:
    """Senders send while the service is killed at moments that `seed` chooses; then looks at what is there."""
    chance = random.Random(seed)
    ledger, state = folder / "ledger.sqlite", folder / "state"
    make_ledger(ledger)
    with Served(bundle, state=state, capture=100, ledger=ledger, workers=workers, threads=1) as served:
        served.start()
        senders = [Sender(served, name, seed=number, bin_id=name) for number, name in enumerate(BINS)]
        senders.append(Sender(served, "no-bin", seed=len(BINS)))
        for sender in senders:
            sender.start()
        for _ in range(times):
            wait_for_more(senders, chance.randrange(1, 12))
            time.sleep(chance.uniform(0.0, 0.05))
            kill(served, chance)
        wait_for_more(senders, 5)
        for sender in senders:
            sender.is_over.set()
        for sender in senders:
            sender.join(WAIT_S)
        served.stop()
    assert [sender.failure for sender in senders if sender.failure] == []
    answered = {name: body for sender in senders for name, body in sender.answered.items()}
    photos = {name: photo for sender in senders for name, photo in sender.photos.items()}
    assert sum(sender.times_sent for sender in senders) > len(answered)  # or nothing was interrupted
    check_capture(state / "capture", answered, photos)
    check_ledger(ledger, {name: photo for name, photo in photos.items() if name.startswith(BINS)})


def wait_for_more(senders: list[Sender], more: int) -> None:
    """Until so many more questions are answered."""
    before, deadline = sum(len(sender.answered) for sender in senders), time.monotonic() + WAIT_S
    while sum(len(sender.answered) for sender in senders) < before + more:
        assert [sender.failure for sender in senders if sender.failure] == []
        assert time.monotonic() < deadline, "nothing is answered any more"
        time.sleep(0.005)


def check_capture(folder: Path, answered: dict[str, bytes], photos: dict[str, bytes]) -> None:
    """Each question once, with its photo and the answer that its sender got."""
    events = list(read_captures(folder))
    assert len({event.event_id for event in events}) == len(events)
    assert Tally(event.plain_answer()["bin_image_id"] for event in events) == dict.fromkeys(answered, 1)
    for event in events:
        name = event.plain_answer()["bin_image_id"]
        assert event.photo == photos[name]
        assert event.answer.encode() == answered[name]
    for path in capture_files(folder):
        assert not path.stat().st_size or path.read_bytes().endswith(b"\n"), "a torn line was left"


def check_ledger(place: Path, photos: dict[str, bytes]) -> None:
    """Each photo once, with one estimate, and an audit log that is whole."""
    with Ledger.open(place) as ledger, ledger.read() as connection:
        assert audit.verify(connection).is_whole
        held = connection.execute(
            select(schema.Photo.sha256, func.count(schema.Estimate.id))
            .join(schema.Estimate, schema.Estimate.photo_id == schema.Photo.id, isouter=True)
            .group_by(schema.Photo.id)
        ).all()
    assert Tally(sha256 for sha256, _ in held) == {hashlib.sha256(photo).hexdigest(): 1 for photo in photos.values()}
    assert {estimates for _, estimates in held} == {1}


def make_ledger(place: Path) -> None:
    """An empty ledger that knows `BINS`."""
    with new_ledger(place) as ledger, ledger.write() as connection:
        site = add_site(connection, code="STR1")
        for code in BINS:
            take_bin(connection, site, code)
