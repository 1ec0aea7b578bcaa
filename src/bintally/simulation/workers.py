"""Sites lived through by several processes, a site and an arm each; what they come to does not depend on how many."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any, Final, NamedTuple

from bintally.artifacts import storage_errors
from bintally.errors import StorageError
from bintally.inventory.judging.how import How
from bintally.progress import Progress, Task
from bintally.simulation.bank import PhotoBank
from bintally.simulation.settings import ArmName, SimulationSettings
from bintally.simulation.site import how_of, live
from bintally.simulation.tally import ArmResult

_LOOK_S: Final = 0.3  # between two looks at how far the processes are


class Job(NamedTuple):
    """A site to be lived through. `folder`: where its ledger is made; `keep`: it stays there."""

    arm: ArmName
    seed: int
    folder: Path
    keep: bool


class _Common(NamedTuple):
    """What all jobs of a process share."""

    settings: SimulationSettings
    how: How
    bank: PhotoBank
    day_done: Callable[[], None]


def work(
    jobs: Sequence[Job], settings: SimulationSettings, how: How, bank: PhotoBank, *, workers: int, progress: Progress
) -> Iterator[tuple[Job, ArmResult]]:
    """The result of each job, as it comes.

    Raises:
        StorageError: no place for the ledgers, or a process was killed.
    """
    with progress.task("simulate", total=len(jobs) * settings.days, unit="days") as task:
        if workers == 1 or len(jobs) == 1:
            common = _Common(settings, how, bank, task.advance)
            for job in jobs:
                yield job, _live(job, common)
        else:
            yield from _in_processes(jobs, settings, how, bank, min(workers, len(jobs)), task)


def _live(job: Job, common: _Common) -> ArmResult:
    with storage_errors(job.folder):
        shutil.rmtree(job.folder, ignore_errors=True)
        if job.arm == "bintally":
            job.folder.mkdir(parents=True)
        try:
            return live(
                job.arm,
                job.seed,
                common.settings,
                common.how,
                common.bank,
                folder=job.folder,
                day_done=common.day_done,
            )
        finally:
            if not job.keep:
                shutil.rmtree(job.folder, ignore_errors=True)


def _in_processes(
    jobs: Sequence[Job], settings: SimulationSettings, how: How, bank: PhotoBank, workers: int, task: Task
) -> Iterator[tuple[Job, ArmResult]]:
    context = get_context("spawn")  # threads of ONNX Runtime and SQLite do not outlive a fork
    days: SimpleQueue[int] = context.SimpleQueue()
    started = (settings, how.bundle.folder, bank, days)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=started)
    try:
        coming: dict[Future[ArmResult], Job] = {pool.submit(_one, job): job for job in jobs}
        while coming:
            done, _ = wait(coming, timeout=_LOOK_S, return_when="FIRST_COMPLETED")
            _advance(task, days)
            for future in done:
                yield coming.pop(future), future.result()
    except BrokenProcessPool as error:
        hint = "Run it again: what was done stays done. With less memory, --workers 1."
        raise StorageError("A process that simulated was killed.", hint=hint) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _advance(task: Task, days: "SimpleQueue[int]") -> None:
    many = 0
    while not days.empty():
        many += days.get()
    if many:
        task.advance(many)


_common: _Common | None = None


def _start(settings: SimulationSettings, bundle: Path, bank: PhotoBank, days: Any) -> None:
    """In a new process, which ends with the one that started it, however that ends."""
    global _common
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _common = _Common(settings, how_of(settings, bundle), bank, lambda: days.put(1))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _one(job: Job) -> ArmResult:
    assert _common is not None  # noqa: S101 - `_start` has made it
    return _live(job, _common)
