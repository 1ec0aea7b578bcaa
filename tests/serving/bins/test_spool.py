"""What waits on disk is whole, in order, once, and bounded."""

import json
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bintally.errors import DataError, RequestError, StorageError
from bintally.serving.bins.delivery import Delivery
from bintally.serving.bins.spool import Spool, Waiting
from tests.serving.bins.shop import replaced, wrong_estimate

MOMENT = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


def delivery(bin_id: str = "A", photo: bytes = b"photo", **told: Any) -> Delivery:
    made = Delivery(
        bin_id=bin_id, site=None, photo=photo, captured_at=MOMENT, received_at=MOMENT, recorded_count=3,
        estimate=wrong_estimate(3), model_sha256="0" * 64, client="robot", request_id="1",
    )  # fmt: skip
    return replaced(made, **told)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "state" / "spool", max_bytes=10_000)


def test_what_was_added_is_read_in_order(spool: Spool) -> None:
    assert spool.waiting() == []
    told = [delivery(photo=bytes([number])) for number in range(12)]
    for each in told:
        spool.add(each)
    assert [spool.read(each) for each in spool.waiting()] == told
    assert [each.number for each in spool.waiting()] == list(range(1, 13))


def test_the_order_is_that_of_arrival_whatever_the_clock_says(spool: Spool) -> None:
    for year in (2030, 1999, 2026):
        spool.add(delivery(captured_at=None, photo=str(year).encode(), received_at=datetime(year, 1, 1, tzinfo=UTC)))
    assert [spool.read(each).received_at.year for each in spool.waiting()] == [2030, 1999, 2026]


def test_the_same_photo_with_the_same_words_waits_once(spool: Spool) -> None:
    spool.add(delivery())
    spool.add(delivery(received_at=datetime.now(UTC), request_id="2", estimate=None))
    assert len(spool.waiting()) == 1
    spool.add(delivery(recorded_count=4))
    spool.add(delivery("B"))
    assert len(spool.waiting()) == 3


def test_a_bin_is_known_to_wait(spool: Spool) -> None:
    spool.add(delivery())
    assert spool.waits(delivery().bin_key)
    assert not spool.waits(delivery("B").bin_key)
    spool.done(spool.waiting()[0])
    assert not spool.waits(delivery().bin_key)
    spool.done(Waiting(1, "0" * 16, "0" * 32, 5))  # by somebody else


def test_it_is_bounded_with_what_was_rejected(spool: Spool) -> None:
    spool.add(delivery(photo=b"a" * 4000))
    spool.reject(spool.waiting()[0], "why", None)
    spool.add(delivery(photo=b"b" * 4000))
    with pytest.raises(RequestError) as caught:
        spool.add(delivery(photo=b"c" * 4000))
    assert (caught.value.status, caught.value.code) == (503, "spool_full")
    assert caught.value.retry_after_s
    size = spool.size()
    assert (size.waiting, size.rejected) == (1, 1)
    assert size.bytes == sum(path.stat().st_size for path in spool.waiting_folder.parent.rglob("*.photo"))


def test_what_is_rejected_says_why_and_can_be_moved_back(spool: Spool) -> None:
    spool.add(delivery())
    [waiting] = spool.waiting()
    spool.reject(waiting, "Site STR1 has no bin 'A'.", spool.read(waiting))
    assert spool.waiting() == []
    told = json.loads((spool.rejected_folder / waiting.name).with_suffix(".json").read_text())
    assert told["reason"] == "Site STR1 has no bin 'A'."
    assert (told["bin_id"], told["request_id"]) == ("A", "1")
    (spool.rejected_folder / waiting.name).replace(spool.waiting_folder / waiting.name)
    assert spool.read(spool.waiting()[0]) == delivery()


def test_a_damaged_file_is_told(spool: Spool) -> None:
    spool.add(delivery(photo=b"x" * 500))
    [waiting] = spool.waiting()
    path = spool.waiting_folder / waiting.name
    whole = path.read_bytes()
    for damaged in (whole[:-30], whole.replace(b"xxxx", b"xxxy", 1), b""):
        path.write_bytes(damaged)
        with pytest.raises(DataError):
            spool.read(waiting)


def test_what_a_kill_left_half_written_is_removed(spool: Spool) -> None:
    spool.add(delivery())
    part = spool.waiting_folder / ".0000000002-x.photo.abc.tmp"
    part.write_bytes(b"half")
    spool.add(delivery("B"))
    assert not part.exists()
    assert len(spool.waiting()) == 2


@contextmanager
def no_more_files() -> Iterator[None]:
    """This process may open no more of them (EMFILE)."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_disk_that_fails_in_any_way_is_told(spool: Spool) -> None:
    spool.add(delivery())
    [waiting] = spool.waiting()
    with no_more_files(), pytest.raises(StorageError):
        spool.add(delivery("B"))
    with no_more_files(), pytest.raises(StorageError):
        spool.reject(waiting, "why", None)
    with no_more_files(), pytest.raises(StorageError), spool.claimed():
        pass
    spool.add(delivery("B"))
    assert len(spool.waiting()) == 2


def test_other_files_are_left_alone(spool: Spool) -> None:
    spool.add(delivery())
    (spool.waiting_folder / "notes.txt").write_text("mine")
    assert len(spool.waiting()) == 1


def test_one_process_takes_out_at_a_time(spool: Spool) -> None:
    spool.add(delivery())
    with spool.claimed() as ours:
        assert ours
        with spool.claimed() as theirs:
            assert not theirs
    with spool.claimed() as again:
        assert again


def test_those_who_add_at_the_same_time_share_one_order(tmp_path: Path) -> None:
    """Each opens the lock's file anew, so that threads exclude each other as processes do."""

    def add(who: int) -> None:
        spool = Spool(tmp_path, max_bytes=10**6)
        for number in range(20):
            spool.add(delivery(f"{who}", photo=bytes([number])))
            spool.add(delivery("shared", photo=bytes([number])))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(add, range(3)))
    spool = Spool(tmp_path, max_bytes=10**6)
    waiting = spool.waiting()
    assert [each.number for each in waiting] == list(range(1, 81))
    for who in ("0", "1", "2", "shared"):
        photos = [each.photo for each in map(spool.read, waiting) if each.bin_id == who]
        assert photos == [bytes([number]) for number in range(20)]
