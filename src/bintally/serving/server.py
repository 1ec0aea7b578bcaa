"""Runs the service: loads the model, takes the port, serves until it is told to stop."""

import asyncio
import errno
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
import uvicorn
from pydantic import Field

from bintally.config import Config
from bintally.counting.counter import Counter
from bintally.errors import UsageError
from bintally.serving.app import create_app

SHUTDOWN_S: Final = 20
"""Requests under way may take this long to end after a stop; SageMaker kills 30 s after its SIGTERM."""


class ServeConfig(Config):
    """How the service runs."""

    bundle: Path | None = Field(
        default=None, description="Folder of the model (default: the one that ships with the package)."
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 lets other machines in.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    allow_url: tuple[str, ...] = Field(default=(), description="Hosts that photos may be fetched from by URL.")
    samples: Path | None = Field(default=None, description="Folder of photos the page offers (default: rendered ones).")
    max_photo_mb: int = Field(default=20, ge=1, le=200, description="Largest photo taken, in MB.")


class Serving(msgspec.Struct, frozen=True):
    """A service that has begun to answer."""

    url: str
    model: str
    licence: str


def serve(
    *,
    bundle: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8080,
    allow_url: Sequence[str] = (),
    samples: Path | None = None,
    max_photo_mb: int = 20,
    on_ready: Callable[[Serving], None] = lambda _: None,
) -> None:
    """Serves the page and the API until Ctrl-C or SIGTERM; requests under way are answered first.

    `on_ready` is told the address as soon as the service answers there.

    Raises:
        UsageError: the port is taken, or the address is none of this machine's.
        BundleError: no usable model.
    """
    values = {"bundle": bundle, "host": host, "port": port, "allow_url": tuple(allow_url), "samples": samples}
    _serve(ServeConfig.of({**values, "max_photo_mb": max_photo_mb}), on_ready)


def _serve(config: ServeConfig, on_ready: Callable[[Serving], None]) -> None:
    with _listening(config.host, config.port) as listener, _sigterm_like_ctrl_c():
        counter = Counter(config.bundle)
        app = create_app(
            counter=counter,
            allow_url=config.allow_url,
            samples=config.samples,
            max_photo_bytes=config.max_photo_mb * 2**20,
        )
        serving = Serving(_url(config.host, listener), counter.card.name, counter.card.licence)
        settings = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=SHUTDOWN_S)
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
