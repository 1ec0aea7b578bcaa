"""Worker processes that die or hang of a photo: real processes, real signals."""

import sys
import time
from pathlib import Path

import pytest

from bintally.data.inspection import Inspection, Job, Limits
from bintally.data.inspectors import Inspector, inspect_all
from bintally.errors import BintallyError
from bintally.progress import SILENT
from tests.data.bin_folder import draw_photo, encoded

LIMITS = Limits(40, 6, 64, 8000, 5, 10**8)

# The real worker, but for photos named after what they do to the decoder.
_WORKER = """
import os, sys, time
from bintally.data import inspection
real = inspection.inspect
def inspect(job, limits):
    if "killer" in job.photo: os.abort()
    if "staller" in job.photo: time.sleep(600)
    if "unlucky" in job.photo and not os.path.exists(job.photo + ".tried"):
        open(job.photo + ".tried", "w").close(); os.abort()
    return real(job, limits)
inspection.inspect = inspect
inspection.main()
"""
WORKER = (sys.executable, "-c", _WORKER)


def job(folder: Path, name: str) -> Job:
    path = folder / f"{name}.jpg"
    path.write_bytes(encoded(draw_photo(len(name))))
    return Job(str(path), None, None, 2, "labels")


def ask(inspector: Inspector, one: Job) -> Inspection:
    with inspector:
        return inspector.inspect(one)


def test_photos_that_kill_the_decoder_are_set_aside_and_all_others_inspected_in_order(tmp_path: Path) -> None:
    names = ["a", "killer1", "bb", "ccc", "killer22", "dddd"]
    told = []

    class Task:
        def advance(self, amount: int = 1) -> None:
            told.append(amount)

        def note(self, text: str) -> None: ...

    found = inspect_all([job(tmp_path, name) for name in names], limits=LIMITS, workers=2, task=Task(), command=WORKER)
    assert [one.quarantine for one in found] == [["decoder_crashed"] if "killer" in name else [] for name in names]
    assert len({one.dhash for one in found}) == 5
    assert sum(told) == len(names)


def test_a_photo_that_never_comes_back_is_given_up(tmp_path: Path) -> None:
    start = time.perf_counter()
    found = ask(Inspector(LIMITS, command=WORKER, photo_seconds=0.4), job(tmp_path, "staller"))
    assert found.quarantine == ["decoder_crashed"]
    assert time.perf_counter() - start < 20


def test_a_worker_that_dies_once_is_not_the_photos_fault(tmp_path: Path) -> None:
    assert ask(Inspector(LIMITS, command=WORKER), job(tmp_path, "unlucky")).quarantine == []


def test_a_worker_that_does_not_start_is_no_photos_fault_either(tmp_path: Path) -> None:
    broken = (sys.executable, "-c", "import nothing_of_that_name")
    with SILENT.task("check", total=1) as task, pytest.raises(BintallyError, match="doesn't start"):
        inspect_all([job(tmp_path, "a")], limits=LIMITS, workers=1, task=task, command=broken)
