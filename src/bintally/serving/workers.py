"""Several processes that share one port: started, watched, started again, told to reload, drained.

    parent   holds the port and a pipe to each worker; loads no model, answers nothing
    worker   loads the model itself, accepts from the shared port, says over its pipe that it is ready and lives

uvicorn's own supervisor keeps the child's end of its pipe open in the parent, so that a worker killed while it is asked
holds the parent up until a timeout. Here that end is closed, and nothing is asked: a dead worker's pipe and sentinel
become readable at once. A parent that dies closes the pipes, and its workers drain and end.
"""

import asyncio
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Final

from bintally.artifacts import storage_errors
from bintally.errors import BintallyError
from bintally.serving.listening import Serving
from bintally.serving.operation.logs import FIELDS
from bintally.serving.settings import ServeConfig
from bintally.serving.worker import BEAT_S, RELOAD, STOP, Answering, Failed, Ready, run_worker
from bintally.settings import cpu_count

HUNG_S: Final = 30.0
"""A worker that says nothing for so long is ended; loading a model blocks no event loop, so this is no busy one."""

START_S: Final = 300.0
MOST_PATIENCE_S: Final = 30.0
END_S: Final = 7.0
"""What the workers' end may take beyond `shutdown_s`: a little more than each allows itself."""

_SHARED: Final = "bintally-workers-"
_log: Final = logging.getLogger(__name__)


class Worker:
    """A process, as its parent sees it.

    Raises:
        OSError: it can't be started.
    """

    def __init__(self, place: int, listener: socket.socket, config: ServeConfig, shared: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.place = place
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(
            target=run_worker, args=(listener, config, theirs, shared), name=f"bintally-{place}"
        )
        try:
            self.process.start()
        except OSError:
            self.pipe.close()
            raise
        finally:
            theirs.close()
        self.is_ready = False
        self.heard = time.monotonic()

    @property
    def is_hung(self) -> bool:
        """Whether it has said nothing for too long."""
        return time.monotonic() - self.heard > (HUNG_S if self.is_ready else START_S)

    def tell(self, word: str | Answering) -> None:
        """Sends it a word; one that has just died needs none."""
        with suppress(OSError):
            self.pipe.send(word)

    def stop(self) -> None:
        """Has it end in good order."""
        if self.is_ready:
            self.tell(STOP)
        else:
            self.process.terminate()  # it listens to its pipe only once it is ready


class Supervisor:
    """Keeps `config.workers` workers alive until it is told to stop; lives in an event loop.

    `shared`: a folder for what they share while this service runs, such as their metrics.
    """

    def __init__(
        self, listener: socket.socket, config: ServeConfig, shared: Path, on_ready: Callable[[Serving], None]
    ) -> None:
        self._listener, self._config, self._shared, self._on_ready = listener, config, shared, on_ready
        self._loop = asyncio.get_running_loop()
        self._workers: dict[int, Worker] = {}
        self._patience_s = [0.0] * config.workers
        self._has_begun = self._is_stopping = False
        self._ended = asyncio.Event()
        self.failure: BintallyError | None = None
        self.is_clean = True

    async def run(self) -> None:
        """Starts the workers, and returns when all of them have ended."""
        if threading.current_thread() is threading.main_thread():  # signals reach no other
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(number, self.stop, number)
            self._loop.add_signal_handler(signal.SIGHUP, self._reload)
        for place in range(self._config.workers):
            self._start(place)
        self._look()
        await self._ended.wait()

    def stop(self, number: int | None = None) -> None:
        """Has all workers end in good order; told twice, they end at once."""
        if self._is_stopping:
            self._kill_all()
            if number is not None:
                shutil.rmtree(self._shared, ignore_errors=True)
                logging.shutdown()
                os._exit(128 + number)
            return
        _log.info("The service ends.")
        self._is_stopping = True
        self._listener.close()  # or connections would be taken that nobody accepts
        self._loop.call_later(self._config.shutdown_s + END_S, self._kill_all)
        for worker in self._workers.values():
            worker.stop()
        self._end_if_over()

    def _start(self, place: int) -> None:
        if self._is_stopping:
            return
        try:
            worker = Worker(place, self._listener, self._config, self._shared)
        except OSError as error:
            self._fail(
                BintallyError(
                    f"There is no process to be had for a worker: {error.strerror or error}.",
                    hint="Look at the machine's memory, and its limits of processes and files (`ulimit -a`).",
                )
            )
            self._loop.call_later(self._next_pause_s(place), self._start, place)
            return
        self._workers[place] = worker
        self._loop.add_reader(worker.pipe.fileno(), self._on_word, worker)
        self._loop.add_reader(worker.process.sentinel, self._on_end, worker)

    def _on_word(self, worker: Worker) -> bool:
        """Takes a word; False: none comes any more."""
        try:
            word = worker.pipe.recv()
        except (EOFError, OSError):
            self._loop.remove_reader(worker.pipe.fileno())  # its sentinel tells the rest
            return False
        worker.heard = time.monotonic()
        if isinstance(word, Ready):
            self._on_worker_ready(worker, word.serving)
        elif isinstance(word, Failed):
            self._fail(word.kind(word.message, hint=word.hint))
        elif word == RELOAD:
            self._reload(but=worker)
        return True

    def _on_worker_ready(self, worker: Worker, serving: Serving) -> None:
        worker.is_ready = True
        self._patience_s[worker.place] = 0.0
        if self._is_stopping:
            worker.stop()
        elif not self._has_begun and len(self._ready()) == self._config.workers:
            self._has_begun = True
            self._on_ready(serving)
        self._tell_how_many()

    def _on_end(self, worker: Worker) -> None:
        self._loop.remove_reader(worker.process.sentinel)
        self._loop.remove_reader(worker.pipe.fileno())
        while worker.pipe.poll() and self._on_word(worker):  # what it said last, such as why it can't start
            pass
        worker.process.join()
        worker.pipe.close()
        del self._workers[worker.place]
        _forget(worker, self._shared)
        code = worker.process.exitcode
        if self._is_stopping:
            self.is_clean &= code in (0, -signal.SIGTERM)
            self._end_if_over()
        elif not self._has_begun:
            self._fail(
                BintallyError(
                    f"A worker ended with code {code} before it could count.",
                    hint="Its log says why; if it was killed, memory is short: use fewer --workers.",
                )
            )
        else:
            self._tell_how_many()
            self._start_again(worker, code)

    def _start_again(self, worker: Worker, code: int | None) -> None:
        """At once, but one that can't even start is tried less and less often."""
        wait_s = 0.0 if worker.is_ready else self._next_pause_s(worker.place)
        facts = {"worker": worker.process.pid, "exit_code": code, "again_in_s": wait_s}
        _log.error("A worker ended; another takes its place.", extra={FIELDS: facts})
        self._loop.call_later(wait_s, self._start, worker.place)

    def _next_pause_s(self, place: int) -> float:
        wait_s = self._patience_s[place]
        self._patience_s[place] = min(2 * wait_s or 1.0, MOST_PATIENCE_S)
        return wait_s

    def _tell_how_many(self) -> None:
        """Health is asked of a worker, which can't see that another is missing."""
        if self._has_begun and not self._is_stopping:
            ready = self._ready()
            for worker in ready:
                worker.tell(Answering(len(ready)))

    def _fail(self, error: BintallyError) -> None:
        if self._has_begun:
            _log.error("A worker can't start: %s", error)
            return
        self.failure = self.failure or error
        if not self._is_stopping:
            self.stop()

    def _reload(self, but: Worker | None = None) -> None:
        for worker in self._ready():
            if worker is not but:
                worker.tell(RELOAD)

    def _look(self) -> None:
        """Ends workers that hang, now and once a second."""
        for worker in self._workers.values():
            if worker.is_hung:
                _log.error("A worker does not answer and is ended.", extra={FIELDS: {"worker": worker.process.pid}})
                worker.process.kill()
        self._loop.call_later(BEAT_S, self._look)

    def _ready(self) -> list[Worker]:
        return [worker for worker in self._workers.values() if worker.is_ready]

    def _kill_all(self) -> None:
        for worker in self._workers.values():
            self.is_clean = False
            worker.process.kill()

    def _end_if_over(self) -> None:
        if not self._workers:
            self._ended.set()


def supervise(listener: socket.socket, config: ServeConfig, *, on_ready: Callable[[Serving], None]) -> None:
    """Serves with `config.workers` processes until SIGTERM or Ctrl-C; SIGHUP has all of them reload the model.

    Raises:
        BundleError: no usable model.
        UsageError: settings that make no sense together.
        StorageError: there is no place for what the workers share.
    """
    each = config.model_copy(update={"threads": config.threads or max(cpu_count() // config.workers, 1)})

    async def run(shared: Path) -> Supervisor:
        supervisor = Supervisor(listener, each, shared, on_ready)
        await supervisor.run()
        return supervisor

    shared = _new_folder()
    try:
        supervisor = asyncio.run(run(shared))
    finally:
        shutil.rmtree(shared, ignore_errors=True)
    if supervisor.failure is not None:
        raise supervisor.failure
    if not supervisor.is_clean:
        raise SystemExit(1)


def _new_folder() -> Path:
    """A new folder for what the workers share; those that a killed service has left are taken away."""
    place = Path(tempfile.gettempdir())
    for left in place.glob(f"{_SHARED}*-*"):
        owner = left.name.removeprefix(_SHARED).partition("-")[0]
        if owner.isdecimal() and (int(owner) == os.getpid() or not _is_alive(int(owner))):
            shutil.rmtree(left, ignore_errors=True)
    with storage_errors(place):
        return Path(tempfile.mkdtemp(prefix=f"{_SHARED}{os.getpid()}-"))


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _forget(worker: Worker, shared: Path) -> None:
    """What it was doing is no longer told by the others' metrics."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.process.pid, str(shared))  # type: ignore[no-untyped-call]
