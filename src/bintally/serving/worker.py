"""One of several processes that serve: what it says to its parent, and how it obeys (`serving.workers`)."""

import asyncio
import logging
import os
import select
import signal
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bintally.errors import BintallyError, StorageError
from bintally.serving.listening import Serving
from bintally.serving.operation.logs import logging_to_stderr
from bintally.serving.reserved import reserve_metrics
from bintally.serving.settings import ServeConfig

if TYPE_CHECKING:
    from bintally.serving.http_server import HttpServer
    from bintally.serving.operation.reloading import Reloading
    from bintally.serving.service import CountingService

BEAT_S: Final = 1.0
_log: Final = logging.getLogger(__name__)

STOP: Final = "stop"  # from the parent: end in good order
RELOAD: Final = "reload"  # from the parent: take the model anew; to it: have the others do so
BEAT: Final = "beat"  # to the parent: I live


class Ready(NamedTuple):
    """To the parent: I answer."""

    serving: Serving


class Failed(NamedTuple):
    """To the parent: I can't start, and why."""

    kind: type[BintallyError]
    message: str
    hint: str


class Answering(NamedTuple):
    """From the parent: so many workers answer now."""

    workers: int


def run_worker(listener: socket.socket, config: ServeConfig, pipe: Connection, shared: Path) -> None:
    """A worker's whole life, in its process. `shared`: a folder of all workers of this start, for their metrics."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it, too; its parent tells it what to do
    link = Link(pipe, workers=config.workers, failures=_counting_together(shared))
    with logging_to_stderr(level=config.log_level, form=config.log_format):
        try:
            from bintally.serving.http_server import serve_on

            serve_on(
                listener,
                config,
                on_ready=lambda serving: link.say(Ready(serving)),
                beside=link.beside,
                shared=shared,
            )
        except BintallyError as error:
            link.say(Failed(type(error), error.message, error.hint))
            raise SystemExit(error.exit_code) from None
        except Exception:
            _log.exception("The worker failed.")
            raise SystemExit(1) from None


def _counting_together(shared: Path) -> dict[str, str]:
    """Has this worker's metrics in `shared`, with those of the others; what is wrong, where they can't be there."""
    try:
        reserve_metrics(shared)
    except StorageError as error:
        return {"metrics": f"A worker tells its own alone: {error.message}"}
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(shared)  # before prometheus_client is imported
    return {}


class Link:
    """A worker's side of the pipe. `failures`: what did not work before it had a service."""

    def __init__(self, pipe: Connection, *, workers: int, failures: dict[str, str]) -> None:
        self._pipe, self._workers, self._failures = pipe, workers, failures
        self._one = threading.Lock()

    def say(self, word: Any) -> None:
        """Tells the parent, unless it is gone, or halted and reads nothing: its workers go on."""
        with self._one, suppress(OSError):
            _, can_write, _ = select.select([], [self._pipe], [], 0)
            if can_write:
                self._pipe.send(word)

    @asynccontextmanager
    async def beside(
        self, server: "HttpServer", service: "CountingService", reloading: "Reloading"
    ) -> AsyncIterator[None]:
        """Obeys the parent, and tells it once a second that this worker lives."""
        loop = asyncio.get_running_loop()
        service.failures.update(self._failures)
        reloading.tell_others = lambda: self.say(RELOAD)
        loop.add_reader(self._pipe.fileno(), self._obey, server, service.failures)
        beating = asyncio.create_task(self._beat(service))
        try:
            yield
        finally:
            beating.cancel()
            loop.remove_reader(self._pipe.fileno())

    def _obey(self, server: "HttpServer", failures: dict[str, str]) -> None:
        try:
            word = self._pipe.recv()
        except (EOFError, OSError):  # the parent is gone
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
            word = STOP
        if word == STOP:
            server.stop()
        elif word == RELOAD:
            server.on_hangup()
        elif isinstance(word, Answering):
            failures.pop("workers", None)
            if word.workers < self._workers:
                failures["workers"] = f"{word.workers} of {self._workers} workers answer; the log says why."

    async def _beat(self, service: "CountingService") -> None:
        from bintally.serving.operation.metrics import metrics_of

        metrics, is_told = metrics_of(service), False
        while True:
            self.say(BEAT)
            try:
                if metrics is not None:
                    metrics.look(service)
            except Exception:  # such as a full disk: no reason to seem dead
                if not is_told:
                    _log.exception("The metrics can't be taken down.")
                is_told = True
            await asyncio.sleep(BEAT_S)
