"""The socket that requests come in by, and what can be wrong with its address."""

import errno
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from bintally.errors import UsageError
from bintally.serving.settings import ServeConfig

BACKLOG = 2048
"""Connections that may wait to be accepted; the kernel takes fewer where its own limit is lower."""


class Serving(msgspec.Struct, frozen=True):
    """A service that has begun to answer."""

    url: str
    model: str
    licence: str


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket on `host:port`, taken before the model is loaded: a port in use is told at once.

    Raises:
        UsageError: the port is taken, or the address is none of this machine's.
    """
    try:
        listener = _listen(host, port)
    except (OSError, UnicodeError) as error:  # a host such as "a..b" can't even be encoded
        raise _no_listener(host, port, error) from None
    with listener:
        yield listener


def url_of(config: ServeConfig, listener: socket.socket) -> str:
    """Where `listener` is reached."""
    scheme = "http" if config.tls_cert is None else "https"
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"{scheme}://{host}:{listener.getsockname()[1]}"


def check_certificate(config: ServeConfig) -> None:
    """Finds out before the service starts whether its certificate and key can be used.

    Raises:
        UsageError: they can't, or one of the two is not given.
    """
    if config.tls_cert is None and config.tls_key is None:
        return
    if config.tls_cert is None or config.tls_key is None:
        raise UsageError("A certificate needs its key, and a key its certificate.", hint="Give both, or neither.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(config.tls_cert, config.tls_key)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(
            f"{config.tls_cert} and {config.tls_key} can't be used: {error.strerror or error}.",
            hint="Both are PEM files, and belong together.",
        ) from None


def _listen(host: str, port: int) -> socket.socket:
    [(family, kind, _, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # Named TCP, or asyncio leaves Nagle's algorithm on, which holds each answer's body back for 40 ms.
    listener = socket.socket(family, kind, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
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
