"""One process that serves: the app, uvicorn around it, and how both end."""

import asyncio
import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeAlias

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from bintally.serving.assembly import build, running
from bintally.serving.http.app import create_app
from bintally.serving.http.guards.connections import GuardedHttp
from bintally.serving.listening import BACKLOG, Serving, check_certificate, url_of
from bintally.serving.operation.logs import FIELDS
from bintally.serving.operation.reloading import Reloading
from bintally.serving.service import CountingService
from bintally.serving.settings import ServeConfig

GRACE_S: Final = 5.0
"""What an end may take beyond `shutdown_s`: threads that finish, a log that is written."""

ACCEPTED_AT_ONCE: Final = 1
"""asyncio's `backlog` is the queue's length, and also how many connections a wake-up accepts. With more than one, the
first of several workers took nearly all of a burst of connections (15 of 16), and kept them."""

KEEP_ALIVE_S: Final = 75
"""Longer than the 60 s after which load balancers let an idle connection go: if we went first, a request of theirs
could meet a closed connection."""

_log: Final = logging.getLogger(__name__)


Beside: TypeAlias = Callable[["HttpServer", CountingService, Reloading], AbstractAsyncContextManager[None]]
"""What else runs in the event loop while a server does."""


class HttpServer(uvicorn.Server):
    """uvicorn, which says when it has begun to answer, and ends as it is told to.

    The first SIGTERM or Ctrl-C lets requests under way be answered; the second ends the process at once, unless
    `is_worker`: then its parent does that. SIGHUP calls `on_hangup`.
    """

    def __init__(
        self, config: uvicorn.Config, *, shutdown_s: float, on_ready: Callable[[], None], is_worker: bool = False
    ) -> None:
        super().__init__(config)
        self._shutdown_s, self._on_ready, self._is_worker = shutdown_s, on_ready, is_worker
        self._watchdog: threading.Timer | None = None
        self.on_hangup: Callable[[], None] = lambda: None

    def stop(self) -> None:
        """Ends in good order; what is not over in time is cut off."""
        if self.should_exit:
            return
        self.should_exit = True
        _log.info("The service ends; %d requests are under way.", len(self.server_state.tasks))
        self._watchdog = threading.Timer(self._shutdown_s + GRACE_S, _cut_off, [1])
        self._watchdog.daemon = True
        self._watchdog.start()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, unless it was told to stop before."""
        if self.should_exit:
            return
        await super().startup(sockets=sockets)
        for listener in sockets or ():
            listener.listen(BACKLOG)  # uvicorn has shortened the queue to what is accepted at once
        await asyncio.to_thread(self._on_ready)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Signals are obeyed while the block runs in an event loop of the main thread."""
        if threading.current_thread() is not threading.main_thread():  # signals reach no other
            yield
            return
        loop = asyncio.get_running_loop()

        def on_stop(number: int, _frame: FrameType | None) -> None:
            if self.should_exit and not self._is_worker:
                _cut_off(128 + number)
            loop.call_soon_threadsafe(self.stop)

        handlers: dict[int, Any] = {signal.SIGTERM: on_stop, signal.SIGINT: on_stop}
        if self._is_worker:
            handlers[signal.SIGINT] = signal.SIG_IGN  # Ctrl-C reaches parent and workers alike: the parent decides
        if hasattr(signal, "SIGHUP"):
            handlers[signal.SIGHUP] = lambda *_: loop.call_soon_threadsafe(self.on_hangup)
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if self._watchdog is not None:
                self._watchdog.cancel()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn's own way with signals is not ours."""
        yield


def serve_on(
    listener: socket.socket,
    config: ServeConfig,
    *,
    on_ready: Callable[[Serving], None],
    beside: Beside | None = None,
    shared: Path | None = None,
) -> None:
    """Loads the model and answers what comes in by `listener`, until told to stop.

    `beside` makes it a worker; `shared` is then a folder of all workers of this start.

    Raises:
        BundleError: no usable model.
        UsageError: settings that make no sense together.
    """
    check_certificate(config)
    service = build(config)
    app = create_app(service, config, shared=shared)
    card = service.models.default.card
    serving = Serving(url_of(config, listener), card.name, card.licence)

    def ready() -> None:
        _log.info("The service answers.", extra={FIELDS: {"url": serving.url, "model": serving.model}})
        on_ready(serving)

    server = HttpServer(
        uvicorn_config(app, config), shutdown_s=config.shutdown_s, on_ready=ready, is_worker=beside is not None
    )
    asyncio.run(_serve(server, listener, config, service, app, beside))
    _log.info("The service has ended.")


async def _serve(
    server: HttpServer,
    listener: socket.socket,
    config: ServeConfig,
    service: CountingService,
    app: FastAPI,
    beside: Beside | None,
) -> None:
    reloading: Reloading = app.state.reloading
    tasks: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = asyncio.ensure_future(reloading.on_signal())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server.on_hangup = reload
    async with AsyncExitStack() as stack:
        stack.enter_context(server.signals())
        await stack.enter_async_context(running(service, config))
        if beside is not None:
            await stack.enter_async_context(beside(server, service, reloading))
        await server.serve(sockets=[listener])


def uvicorn_config(app: ASGIApp, config: ServeConfig) -> uvicorn.Config:
    """uvicorn, as the service wants it.

    httptools: 0.08 ms less a request than h11, and half the time for a body of 1 MB; uvloop's 0.005 ms are not worth a
    dependency (measured side by side on 2 cores).
    """
    return uvicorn.Config(
        app,
        loop="asyncio",
        http=GuardedHttp,  # httptools
        ws="none",
        lifespan="off",  # `running` is entered by ourselves: its errors are sentences, not a log of uvicorn's
        log_config=None,
        access_log=False,
        server_header=False,
        workers=1,  # not $WEB_CONCURRENCY
        backlog=ACCEPTED_AT_ONCE,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(config.shutdown_s),
        ssl_certfile=config.tls_cert,
        ssl_keyfile=config.tls_key,
    )


def _cut_off(code: int) -> None:
    """Ends the process now. What must be durable is, whatever the moment."""
    _log.error("The service is cut off: what was under way is not answered.")
    logging.shutdown()
    os._exit(code)
