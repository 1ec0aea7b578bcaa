"""What fails beside counting: counts are answered all the same, `/health` says what is wrong, and it mends itself."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bintally.bundle import MODEL
from bintally.monitoring.capture_reader import read_captures
from tests.serving.killing import WAIT_S, Question, Served

NO_LIMIT = resource.RLIM_INFINITY


def asked(served: Served, name: str, *, bin_id: str | None = None) -> dict[str, Any]:
    """The answer to a question that was never asked before."""
    question = Question(name, seed=sum(name.encode()), bin_id=bin_id)
    status, body = served.ask("POST", "/invocations", question.body, **question.headers)
    assert status == 200, body
    answer: dict[str, Any] = msgspec.json.decode(body)
    return answer


def captured(folder: Path) -> list[str]:
    return [event.plain_answer()["bin_image_id"] for event in read_captures(folder)]


def check_degraded(served: Served, name: str) -> None:
    """It counts, and says twice what it can't do: in the answer and in health."""
    answer = asked(served, name)
    assert answer["count"] is not None
    assert [told.partition(":")[0] for told in answer["degraded"]] == [
        "not captured", "not kept for its Idempotency-Key",
    ]  # fmt: skip
    health = served.health()
    assert health["status"] == "degraded"
    assert set(health["problems"]) == {"capture", "idempotency"}


def check_healthy(served: Served, name: str) -> None:
    assert "degraded" not in asked(served, name)
    assert served.health()["problems"] == {}


@pytest.fixture
def served(bundle: Path, tmp_path: Path) -> Iterator[Served]:
    with Served(bundle, state=tmp_path / "state", capture=100, threads=1) as made:
        made.start()
        yield made


def test_a_disk_without_space(served: Served, tmp_path: Path) -> None:
    check_healthy(served, "before")
    resource.prlimit(served.pid, resource.RLIMIT_FSIZE, (1, NO_LIMIT))
    for name in ("full-1", "full-2"):
        check_degraded(served, name)
    resource.prlimit(served.pid, resource.RLIMIT_FSIZE, (NO_LIMIT, NO_LIMIT))
    check_healthy(served, "after")
    assert captured(tmp_path / "state") == ["before", "after"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root's rights")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_real_disk_that_is_full_then_read_only_then_mended(bundle: Path, small_disk: Path) -> None:
    with Served(bundle, state=small_disk / "state", capture=100, threads=1) as served:
        served.start()
        check_healthy(served, "before")
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))
        # A page or two of the WAL may still be free for SQLite, so capture alone is sure to fail.
        assert "not captured" in asked(served, "full")["degraded"][0]
        assert "capture" in served.health()["problems"]
        filler.unlink()
        check_healthy(served, "between")
        served.stop()
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        served.start()
        check_degraded(served, "read-only")
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        check_healthy(served, "after")
        assert captured(small_disk / "state") == ["before", "between", "after"]


def test_a_full_disk_behind_what_workers_share(
    bundle: Path, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were killed, one after the other, by what they wrote into files that had holes."""
    monkeypatch.setenv("TMPDIR", str(small_disk))
    with Served(bundle, state=tmp_path / "state", threads=1, workers=2, rate=1000) as served:
        served.start()
        workers = served.workers()
        with (small_disk / "filler").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))
        for number in range(40):
            assert asked(served, f"full-{number}")["count"] is not None
            for path in ("/nothing", "/model", "/samples", "/metrics"):
                assert served.ask("GET", path)[0] in (200, 404)
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: len(served.workers()) == 2 and workers[0] not in served.workers())
        until(lambda: "metrics" in served.health()["problems"])
        assert asked(served, "by one of them")["count"] is not None
        assert workers[1] in served.workers()


def test_a_state_folder_that_is_removed_and_then_can_not_be_made(served: Served, tmp_path: Path) -> None:
    check_healthy(served, "before")
    shutil.rmtree(tmp_path / "state")
    check_healthy(served, "made again")
    shutil.rmtree(tmp_path / "state")
    (tmp_path / "state").write_text("in the way")
    check_degraded(served, "in the way")
    (tmp_path / "state").unlink()
    check_healthy(served, "after")
    assert captured(tmp_path / "state") == ["after"]


def test_a_model_that_is_damaged_before_a_reload(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, mine := tmp_path / "bundle")
    whole = (mine / MODEL).read_bytes()
    with Served(mine, state=tmp_path / "state", threads=1) as served:
        served.start()
        (mine / MODEL).write_bytes(whole[: len(whole) // 2])
        os.kill(served.pid, signal.SIGHUP)
        until(lambda: "model" in served.health()["problems"])
        assert asked(served, "damaged")["count"] is not None
        (mine / MODEL).write_bytes(whole)
        os.kill(served.pid, signal.SIGHUP)
        until(lambda: served.health()["problems"] == {})
        assert asked(served, "mended")["count"] is not None


def test_a_ledger_that_is_away(bundle: Path, tmp_path: Path) -> None:
    away, photos = "postgresql://nobody@127.0.0.1:1/none", tmp_path / "photos"
    with Served(bundle, state=tmp_path / "state", capture=100, threads=1, ledger=away, photos=photos) as served:
        served.start()
        answer = asked(served, "a photo", bin_id="A")
        assert answer["count"] is not None
        assert answer["degraded"]
        assert served.health()["status"] == "degraded"
        assert captured(tmp_path / "state") == ["a photo"]


JUMPING = """
import sys, time
from pathlib import Path
real, jump = time.time, Path(sys.argv.pop(1))
time.time = lambda: real() + float(jump.read_text() or 0)  # empty for as long as it is written
from bintally.cli import main
main()
"""


def test_a_clock_that_jumps(bundle: Path, tmp_path: Path) -> None:
    jump = tmp_path / "jump"
    jump.write_text("0")
    program = [sys.executable, "-c", JUMPING, str(jump)]
    with Served(bundle, program=program, state=tmp_path / "state", capture=100, threads=1) as served:
        served.start()
        for number, seconds in enumerate((0, 3600, -3600, 4e8, -4e8, 0)):
            jump.write_text(str(seconds))
            check_healthy(served, f"jump-{number}")
        again = Question("jump-5", seed=sum(b"jump-5"))
        assert served.ask("POST", "/invocations", again.body, **again.headers)[0] == 200
    assert sorted(captured(tmp_path / "state")) == [f"jump-{number}" for number in range(6)]
    assert len({path.parent for path in (tmp_path / "state").rglob("*.jsonl")}) == 5


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
