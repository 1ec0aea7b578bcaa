import multiprocessing
import time
from pathlib import Path

from bintally.artifacts import read_rows
from bintally.training.profile.cores import usable_cores
from bintally.training.profile.machine import read_environment
from bintally.training.profile.rules import system_usage
from bintally.training.profile.system import Machine, SystemSampler
from bintally.training.run_log import LOG, SYSTEM, SystemRow


def _spin(seconds: float) -> int:
    until, turns = time.process_time() + seconds, 0
    while time.process_time() < until:
        turns += 1
    return turns


def test_work_shows_and_idleness_does() -> None:
    machine = Machine()
    machine.look()
    started = time.monotonic()
    _spin(0.3)
    elapsed = time.monotonic() - started
    busy = machine.look()
    time.sleep(0.3)
    idle = machine.look()
    expected = 100 * 0.3 / (elapsed * usable_cores())
    assert 0.5 * expected < busy.process_percent <= min(1.5 * expected, 100)
    assert idle.process_percent < busy.process_percent / 2
    assert busy.cpu_percent >= 0.8 * busy.process_percent
    for row in (busy, idle):
        assert 0 <= row.cpu_percent <= 100
        assert row.rss_mb > 1
        assert 0 < row.memory_percent <= 100
        assert row.io_percent is None or 0 <= row.io_percent <= 100


def test_children_count_as_the_training() -> None:
    child = multiprocessing.get_context("fork").Process(target=_spin, args=(1.0,))
    child.start()
    try:
        machine = Machine()
        machine.look()
        time.sleep(0.4)
        assert machine.look().process_percent > 1
    finally:
        child.join()


def test_the_sampler_looks_as_often_as_asked_and_ends(tmp_path: Path) -> None:
    sampler = SystemSampler(tmp_path, every_s=0.05)
    sampler.start()
    time.sleep(0.6)
    sampler.stop()
    rows = list(read_rows(tmp_path / LOG / SYSTEM, SystemRow))
    assert 3 <= len(rows) <= 12
    usage = system_usage(rows)
    assert set(usage) >= {"CPU", "CPU memory"}
    assert usage["CPU"].min <= usage["CPU"].p50 <= usage["CPU"].p95 <= usage["CPU"].max


def test_a_folder_without_a_log_has_no_machine(tmp_path: Path) -> None:
    assert read_environment(tmp_path) is None
