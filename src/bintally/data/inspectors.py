"""Many inspections at once, in worker processes that may die of a photo without taking the rest along."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Final, Self

import msgspec

import bintally
from bintally.data.inspection import READY, Inspection, Job, Limits
from bintally.errors import BintallyError
from bintally.progress import Task

WORKER: Final = (sys.executable, "-P", "-m", "bintally.data.inspection")
PHOTO_SECONDS: Final = 30.0
"""A photo that takes longer never comes back: real ones take milliseconds."""


class Inspector:
    """A worker process and the line to it; `command` is the seam where tests hand in one that dies or hangs."""

    def __init__(
        self, limits: Limits, *, command: Sequence[str] = WORKER, photo_seconds: float = PHOTO_SECONDS
    ) -> None:
        self._limits = limits
        self._command = command
        self._photo_seconds = photo_seconds
        self._closed = False
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def inspect(self, job: Job) -> Inspection:
        """One inspection. A photo that kills or stalls the worker twice is what did it; once may be bad luck."""
        for _ in range(2):
            process = self._running()
            answer = self._ask(process, job) if process else None
            if answer is not None:
                return answer
            with self._lock:
                self._stop()
        return Inspection(quarantine=["decoder_crashed"])

    def close(self) -> None:
        """Ends the worker, whatever it is at; it is not started again."""
        with self._lock:
            self._closed = True
            self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _running(self) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._process is None and not self._closed:
                self._process = _start(self._command, self._limits)
            return self._process

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in filter(None, (self._process.stdin, self._process.stdout)):
            with suppress(BrokenPipeError):  # what was still to be sent has nobody left to read it
                pipe.close()
        self._process = None

    def _ask(self, process: subprocess.Popen[bytes], job: Job) -> Inspection | None:
        """The worker's answer; None when it died or had to be killed."""
        watchdog = threading.Timer(self._photo_seconds, process.kill)
        watchdog.start()
        try:
            return msgspec.json.decode(_talk(process, msgspec.json.encode(job)), type=Inspection)
        except msgspec.DecodeError:
            return None
        finally:
            watchdog.cancel()


def _start(command: Sequence[str], limits: Limits) -> subprocess.Popen[bytes]:
    home = str(Path(bintally.__file__).parent.parent)
    paths = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH", ""))))
    process = subprocess.Popen(  # noqa: S603 - our own module in our own interpreter
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": paths},
    )
    if _talk(process, msgspec.json.encode(limits)) != READY:
        process.kill()
        process.communicate()
        raise BintallyError(
            "The process that looks into photos doesn't start.",
            hint=f"Run `echo | {' '.join(command)}` to see why.",
        )
    return process


def _talk(process: subprocess.Popen[bytes], line: bytes) -> bytes:
    """Sends a line and returns the answer; what is left of it when the process has died."""
    if process.stdin is None or process.stdout is None:
        return b""
    try:
        process.stdin.write(line + b"\n")
        process.stdin.flush()
        return process.stdout.readline()
    except (BrokenPipeError, ValueError):  # ValueError: closed by the main thread, which stops
        return b""


def inspect_all(
    jobs: Sequence[Job], *, limits: Limits, workers: int, task: Task, command: Sequence[str] = WORKER
) -> list[Inspection]:
    """All inspections, in the order of `jobs`, by `workers` processes; each is told to `task`."""
    results: dict[int, Inspection] = {}
    todo: Iterator[tuple[int, Job]] = iter(enumerate(jobs))
    turn = threading.Lock()
    done: SimpleQueue[BaseException | None] = SimpleQueue()
    inspectors = [Inspector(limits, command=command) for _ in range(min(workers, len(jobs)))]

    def work(inspector: Inspector) -> None:
        try:
            while True:
                with turn:
                    index, job = next(todo, (-1, None))
                if job is None:
                    return
                results[index] = inspector.inspect(job)
                done.put(None)
        except BaseException as error:
            done.put(error)

    threads = [threading.Thread(target=work, args=(inspector,), daemon=True) for inspector in inspectors]
    try:
        for thread in threads:
            thread.start()
        for _ in jobs:
            error = done.get()
            if error is not None:
                raise error
            task.advance()
    finally:
        todo = iter(())
        for inspector in inspectors:
            inspector.close()
        for thread in filter(threading.Thread.is_alive, threads):  # Ctrl-C may come before all have started
            thread.join()
    return [results[index] for index in range(len(jobs))]
