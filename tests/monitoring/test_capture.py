import base64
import fcntl
import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bintally.errors import StorageError
from bintally.monitoring.capture import CaptureLog
from bintally.monitoring.capture_files import capture_files
from bintally.monitoring.capture_line import Event
from bintally.monitoring.capture_reader import read_captures
from bintally.monitoring.capture_tidy import tidy

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC).timestamp()
GB = 2**30


def event(name: str, *, second: float = 0.0, photo: bytes = b"\xff\xd8\xff photo", **more: Any) -> Event:
    fields = {"content_type": "image/jpeg", "answer": '{"count":3}', **more}
    return Event(event_id=name, inference_time=datetime.fromtimestamp(NOON + second, UTC), photo=photo, **fields)


@contextmanager
def log_in(
    folder: Path, *, max_bytes: int = GB, max_age_s: float = 1e9, clock: Callable[[], float] = lambda: NOON
) -> Iterator[CaptureLog]:
    log = CaptureLog(folder, max_bytes=max_bytes, max_age_s=max_age_s, clock=clock)
    try:
        yield log
    finally:
        log.close()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder: Path) -> list[str]:
    return [each.event_id for each in read_captures(folder)]


def test_a_line_is_what_sagemaker_writes(tmp_path: Path) -> None:
    asked = event("e1", attributes=('{"bin_id":"A-1"}',), inference_id="mine")
    with log_in(tmp_path) as log:
        log.append(asked).result(10)
    [path] = capture_files(tmp_path)
    assert path.parent == tmp_path / "2026/03/02/12"
    assert json.loads(path.read_bytes()) == {
        "captureData": {
            "endpointInput": {
                "observedContentType": "image/jpeg",
                "mode": "INPUT",
                "data": base64.b64encode(asked.photo).decode(),
                "encoding": "BASE64",
            },
            "endpointOutput": {
                "observedContentType": "application/json",
                "mode": "OUTPUT",
                "data": '{"count":3}',
                "encoding": "JSON",
            },
        },
        "eventMetadata": {
            "eventId": "e1",
            "customAttributes": ['{"bin_id":"A-1"}'],
            "inferenceId": "mine",
            "inferenceTime": "2026-03-02T12:00:00Z",
        },
        "eventVersion": "0",
    }
    assert list(read_captures(tmp_path)) == [asked]


def test_a_line_that_sagemaker_itself_captured_is_read(tmp_path: Path) -> None:
    (tmp_path / "theirs.jsonl").write_text(
        '{"captureData":{"endpointInput":{"observedContentType":"text/csv","mode":"INPUT","data":"69,0\\n",'
        '"encoding":"CSV"},"endpointOutput":{"observedContentType":"text/csv; charset=utf-8","mode":"OUTPUT",'
        '"data":"0.02","encoding":"CSV"}},"eventMetadata":{"eventId":"aaaa","inferenceTime":"2022-02-14T17:25:49Z"},'
        '"eventVersion":"0"}\n'
    )
    [theirs] = read_captures(tmp_path)
    assert (theirs.photo, theirs.answer, theirs.inference_time.year) == (b"69,0\n", "0.02", 2022)


def test_what_was_captured_twice_comes_once_as_it_was_last_and_all_in_order_of_time(tmp_path: Path) -> None:
    with log_in(tmp_path / "b") as later, log_in(tmp_path / "a") as earlier:
        later.append(event("twice", second=5, answer='{"n":2}')).result(10)
        later.append(event("second", second=1)).result(10)
        earlier.append(event("twice", second=2, answer='{"n":1}')).result(10)
        earlier.append(event("third", second=3)).result(10)
        earlier.append(event("first", second=0)).result(10)
    read = list(read_captures(tmp_path))
    assert [each.event_id for each in read] == ["first", "second", "third", "twice"]
    assert read[-1].plain_answer() == {"n": 2}


def test_a_torn_or_garbled_line_is_skipped_by_readers(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        for number in range(3):
            log.append(event(f"e{number}", second=number)).result(10)
    [path] = capture_files(tmp_path)
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + b"\0" * 100 + b"\n" + second + b'{"a":1}\n\xff\xfe\n' + third[:-1])
    assert names(tmp_path) == ["e0", "e1"]


def test_a_line_torn_by_a_kill_is_cut_at_the_next_start(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        log.append(event("whole")).result(10)
    [path] = capture_files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + b"x" * 200_000)  # more than is looked at in one go
    (torn_only := path.with_name("torn.jsonl")).write_bytes(whole[:50])
    tidy(tmp_path, max_bytes=GB, before_s=None, mended=set())
    assert path.read_bytes() == whole
    assert torn_only.read_bytes() == b""


def test_what_is_being_written_is_neither_cut_nor_removed(tmp_path: Path) -> None:
    old = tmp_path / "2020/01/01/00/left.jsonl"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"left by a process that died\n")
    busy = old.with_name("busy.jsonl")
    busy.write_bytes(b"half a line of one that lives")
    with busy.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        tidy(tmp_path, max_bytes=1, before_s=None, mended=set())
        assert busy.exists() and not old.exists()
        assert busy.read_bytes() == b"half a line of one that lives"
    tidy(tmp_path, max_bytes=1, before_s=None, mended=set())
    assert list(tmp_path.iterdir()) == []  # the folders went with the last file


def test_the_oldest_go_when_there_are_too_many_and_those_that_are_too_old(tmp_path: Path) -> None:
    files = [tmp_path / f"2026/03/02/{hour:02}/a.jsonl" for hour in range(6)]
    for hour, path in enumerate(files):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * 99 + b"\n")
        os.utime(path, (NOON + hour, NOON + hour))
    tidy(tmp_path, max_bytes=450, before_s=None, mended=set())
    assert capture_files(tmp_path) == files[2:]
    tidy(tmp_path, max_bytes=450, before_s=NOON + 3.5, mended=set())
    assert capture_files(tmp_path) == files[4:]


def test_captures_stay_within_their_size_while_they_are_written(tmp_path: Path) -> None:
    now = [NOON]
    with log_in(tmp_path, max_bytes=200_000, clock=lambda: now[0]) as log:
        for number in range(100):
            now[0] += 1.0
            log.append(event(f"e{number}", second=number, photo=b"x" * 10_000)).result(10)
    with log_in(tmp_path, max_bytes=200_000, clock=lambda: now[0] + 1) as log:  # looks at the end, too
        log.append(event("last", second=200)).result(10)
    assert sum(path.stat().st_size for path in capture_files(tmp_path)) < 250_000
    assert names(tmp_path)[-2:] == ["e99", "last"]


def test_each_hour_has_a_folder_whichever_way_the_clock_jumps(tmp_path: Path) -> None:
    now = [NOON]
    hours = (0, 1, -1, 24 * 365, 0, 0, -24 * 365 * 20)
    with log_in(tmp_path, max_age_s=3600, clock=lambda: now[0]) as log:
        for number, hour in enumerate(hours):
            now[0] = NOON + 3600 * hour
            log.append(event(f"e{number}", second=number)).result(10)
    assert names(tmp_path) == [f"e{number}" for number in range(len(hours))]  # nothing overwritten, nothing thrown away
    assert len({path.parent for path in capture_files(tmp_path)}) == 5
    assert len(capture_files(tmp_path)) == 6


def test_several_logs_of_one_folder_never_share_a_file(tmp_path: Path) -> None:
    with log_in(tmp_path) as one, log_in(tmp_path) as other:
        futures = [log.append(event(f"{name}{n}")) for n in range(20) for name, log in (("a", one), ("b", other))]
        for future in futures:
            future.result(10)
        assert len(capture_files(tmp_path)) == 2
    assert len(names(tmp_path)) == 40


def test_a_full_disk_is_told_and_spoils_nothing_and_space_is_enough_to_go_on(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        log.append(event("before")).result(10)
        with largest_file(5_000):
            with pytest.raises(StorageError, match="No space left"):
                log.append(event("too large", photo=b"x" * 10_000)).result(10)
            log.append(event("small")).result(10)
        log.append(event("after", photo=b"x" * 10_000)).result(10)
        [path] = capture_files(tmp_path)
    assert path.read_bytes().count(b"\n") == 3
    assert sorted(names(tmp_path)) == ["after", "before", "small"]


def test_a_folder_that_is_removed_is_made_again(tmp_path: Path) -> None:
    with log_in(tmp_path / "capture") as log:
        log.append(event("lost")).result(10)
        (tmp_path / "capture").rename(tmp_path / "gone")
        log.append(event("kept")).result(10)
    assert names(tmp_path / "capture") == ["kept"]
    assert names(tmp_path / "gone") == ["lost"]


def test_a_place_that_can_be_no_folder_is_told_until_it_can(tmp_path: Path) -> None:
    place = tmp_path / "capture"
    place.write_text("in the way")
    with log_in(place) as log:
        for _ in range(2):
            with pytest.raises(StorageError):
                log.append(event("no")).result(10)
        place.unlink()
        log.append(event("yes")).result(10)
    assert names(place) == ["yes"]


def test_nothing_captured_is_nothing_read(tmp_path: Path) -> None:
    assert list(read_captures(tmp_path / "nowhere")) == []
