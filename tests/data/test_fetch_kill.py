"""Killed or stopped by Ctrl-C at any moment: the next fetch goes on, and the result is the same to the byte."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bintally.data.fetch import fetch
from bintally.data.journal import JOURNAL
from tests.data.servers import FaultyServer, lay_out, serving, tree

IDS = [f"{number:05}" for number in range(1, 201)]

FETCH = [sys.executable, "-m", "bintally", "fetch", "--ids", "00001-00200", "--counts", "0-6+", "--concurrency", "8"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FaultyServer, str]]:
    """200 photos on a line slow enough to be killed on, which fails now and then."""
    folder = lay_out(tmp_path_factory.mktemp("source") / "bucket", IDS, without_metadata=("00007", "00150"))
    (folder / "labels.csv").write_text("id,count\n00007,3\n00150,2\n")
    server = FaultyServer(folder, delay_s=0.02)
    with serving(server) as url:
        yield server, url


@pytest.fixture(scope="module")
def whole(server: tuple[FaultyServer, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a fetch that nobody stops makes."""
    out = tmp_path_factory.mktemp("whole") / "data"
    report = fetch(source=server[1], out=out, ids="00001-00200", counts="0-6+")
    assert report.photos == 200
    return tree(out)


def stopped(url: str, out: Path, how: signal.Signals, after_lines: int, then_s: float) -> int:
    """Starts a fetch, stops it once the journal has grown by so many lines and a little later; its exit status."""
    journal = out / JOURNAL
    before = journal.stat().st_size if journal.exists() else 0
    process = subprocess.Popen([*FETCH, url, "--out", str(out)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        grown = journal.read_bytes()[before:].count(b"\n") if journal.exists() else 0
        if grown >= after_lines:
            time.sleep(then_s)
            os.kill(process.pid, how)
            break
        time.sleep(0.005)
    return process.wait(timeout=60)


def assert_whole_files_only(out: Path, source: Path) -> None:
    """Whatever has its final name has all its bytes."""
    for part in ("bin-images", "metadata"):
        for path in (out / part).glob("[!.]*"):
            assert path.read_bytes() == (source / part / path.name).read_bytes()


def campaign(server: tuple[FaultyServer, str], whole: dict[str, bytes], out: Path, *, kills: int, seed: int) -> None:
    faulty, url = server
    moments = random.Random(seed)
    killed = 0
    for _ in range(kills):
        faulty.faults["/*/*"] = moments.choices(["503", "cut", "reset"], k=moments.randint(0, 5))
        status = stopped(url, out, signal.SIGKILL, moments.randint(0, 90), moments.uniform(0, 0.05))
        killed += status == -signal.SIGKILL
        assert faulty.folder is not None
        assert_whole_files_only(out, faulty.folder)
        if (out / "manifest.parquet").exists():
            assert tree(out) == whole
    assert killed > 0
    faulty.faults.clear()
    assert fetch(source=url, out=out, ids="00001-00200", counts="0-6+").photos == 200
    assert tree(out) == whole


def test_killed_at_random_moments(server: tuple[FaultyServer, str], whole: dict[str, bytes], tmp_path: Path) -> None:
    server[0].requests.clear()
    campaign(server, whole, tmp_path / "data", kills=3, seed=1)
    photos = sum(n for path, n in server[0].requests.items() if path.startswith("/bin-images"))
    # Each kill loses at most the 8 requests under way; each failed answer (5 a run) is asked for again.
    assert photos <= 200 + 3 * (8 + 5)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_killed_at_very_many_moments(
    server: tuple[FaultyServer, str], whole: dict[str, bytes], tmp_path: Path, seed: int
) -> None:
    campaign(server, whole, tmp_path / "data", kills=10, seed=100 + seed)


def test_ctrl_c_stops_at_once_and_leaves_nothing_half_written(
    server: tuple[FaultyServer, str], whole: dict[str, bytes], tmp_path: Path
) -> None:
    faulty, url = server
    out = tmp_path / "data"
    assert stopped(url, out, signal.SIGINT, 230, 0.0) == 130  # 200 lines of counts, then 30 photos
    assert not (out / "manifest.parquet").exists()
    assert not list(out.rglob("*.tmp"))
    assert faulty.folder is not None
    assert_whole_files_only(out, faulty.folder)
    report = fetch(source=url, out=out, ids="00001-00200", counts="0-6+")
    assert report.reused >= 20
    assert tree(out) == whole
