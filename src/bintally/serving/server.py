"""Runs the service: loads the model, takes the port, serves until it is told to stop."""

import asyncio
import errno
import math
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import uvicorn

from bintally.errors import UsageError
from bintally.serving.assembly import build, running
from bintally.serving.http.app import create_app
from bintally.serving.settings import ServeConfig


class Serving(msgspec.Struct, frozen=True):
    """A service that has begun to answer."""

    url: str
    model: str
    licence: str


def serve(*, on_ready: Callable[[Serving], None] = lambda _: None, **settings: Any) -> None:
    """Serves the page and the API until Ctrl-C or SIGTERM; requests under way are answered first.

    `settings` as in `serving.settings.ServeConfig`; what is not given is taken from the environment. `on_ready` is told
    the address as soon as the service answers there.

    Raises:
        ConfigError: a setting, or a BINTALLY_SERVE_ variable, is wrong.
        UsageError: the port is taken, or the address is none of this machine's.
        BundleError: no usable model.
    """
    _serve(ServeConfig.from_environment(settings), on_ready)


def _serve(config: ServeConfig, on_ready: Callable[[Serving], None]) -> None:
    with _listening(config.host, config.port) as listener, _sigterm_like_ctrl_c():
        service = build(config)
        app = create_app(service, config, lifespan=lambda _: running(service))
        card = service.models.default.card
        serving = Serving(_url(config.host, listener), card.name, card.licence)
        settings = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=math.ceil(config.shutdown_s)
        )
        with suppress(KeyboardInterrupt):  # uvicorn raises the signal again after it has shut down in good order
            _Server(settings, lambda: on_ready(serving)).run(sockets=[listener])


class _Server(uvicorn.Server):
    """uvicorn, which says when it has begun to answer."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        await asyncio.to_thread(self._on_ready)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket on `host:port`, taken before the model is loaded: a port in use is told at once."""
    try:
        listener = _listen(host, port)
    except (OSError, UnicodeError) as error:  # a host such as "a..b" can't even be encoded
        raise _no_listener(host, port, error) from None
    with listener:
        yield listener


def _listen(host: str, port: int) -> socket.socket:
    [(family, kind, _, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # Named TCP, or asyncio leaves Nagle's algorithm on, which holds each answer's body back for 40 ms.
    listener = socket.socket(family, kind, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def _no_listener(host: str, port: int, error: OSError | UnicodeError) -> UsageError:
    code = getattr(error, "errno", None)
    if code == errno.EADDRINUSE:
        other = port % 65535 + 1
        return UsageError(f"Port {port} on {host} is in use.", hint=f"Choose another, such as `--port {other}`.")
    if code == errno.EACCES:
        return UsageError(f"Port {port} needs more rights than you have.", hint="Choose one above 1023 with `--port`.")
    message = f"{host} is no address of this machine: {getattr(error, 'strerror', None) or error}."
    return UsageError(message, hint="Leave `--host` out, or use 0.0.0.0.")


@contextmanager
def _sigterm_like_ctrl_c() -> Iterator[None]:
    """SIGTERM (a container's stop) ends the service as Ctrl-C does: in good order, with exit code 0."""
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread only
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _url(host: str, listener: socket.socket) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
