"""A photo by URL, from hosts the operator named and from no other.

Written on `http.client`, which follows no redirect, asks no proxy and opens no `file:`, so that each hop is judged
here. A host is reached only if it was named exactly, so a private address is reached only when it, or the name that
leads to it, was allowed on purpose.
"""

import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from bintally import __version__
from bintally.errors import RequestError, UsageError
from bintally.serving.refusals import too_large

TIME_LIMIT_S: Final = 10.0
MAX_REDIRECTS: Final = 3
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CONNECTIONS: Final = {"http": HTTPConnection, "https": HTTPSConnection}
_HOST: Final = re.compile(r"[\w.-]+(:\d{1,5})?|\[[0-9a-f:.]+\](:\d{1,5})?", re.IGNORECASE)


class AllowedHosts:
    """The hosts that photos may be fetched from: `camera.example` (any port) or `camera.example:8443` (that one).

    Raises:
        UsageError: a host that is none, such as a whole URL.
    """

    def __init__(self, hosts: Iterable[str]) -> None:
        self._hosts = frozenset(host.strip().lower() for host in hosts)
        for host in self._hosts:
            if not _HOST.fullmatch(host):
                raise UsageError(
                    f"{host!r} is no host.", hint="Name it as in `--allow-url camera.example`, without https://."
                )

    def check(self, url: str) -> SplitResult:
        """The parts of `url`.

        Raises:
            RequestError: 403 for another host or scheme, 422 for no URL.
        """
        try:
            parts = urlsplit(url)
            scheme, host, port = parts.scheme, parts.hostname or "", parts.port
        except ValueError as error:
            raise RequestError(f"{url!r} is no URL: {error}.", status=422, code="invalid_request") from None
        host = f"[{host}]" if ":" in host else host
        number = port or (443 if scheme == "https" else 80)
        if scheme not in _CONNECTIONS or not self._hosts & {host, f"{host}:{number}"}:
            raise RequestError(
                f"Photos are not fetched from {url!r}.",
                status=403,
                code="url_not_allowed",
                hint="Send the photo itself, or start the service with `--allow-url HOST` for its exact host.",
            )
        return parts

    def fetch(self, url: str, *, max_bytes: int, limit_s: float = TIME_LIMIT_S) -> bytes:
        """The bytes behind `url`; redirects are followed on the same host only.

        Raises:
            RequestError: 403 not allowed, 413 too large, 422 no URL, 400 not to be had within `limit_s`.
        """
        deadline = time.monotonic() + limit_s
        first_host = self.check(url).hostname
        for _ in range(MAX_REDIRECTS + 1):
            parts = self.check(url)
            if parts.hostname != first_host:
                raise _unreachable(f"it leads to another host, {parts.hostname}")
            status, location, body = _get(parts, max_bytes=max_bytes, deadline=deadline)
            if status == 200:
                return body
            if status not in _REDIRECTS or not location:
                raise _unreachable(f"the server answered {status}")
            url = urljoin(url, location)
        raise _unreachable(f"it was redirected more than {MAX_REDIRECTS} times")


def _get(parts: SplitResult, *, max_bytes: int, deadline: float) -> tuple[int, str | None, bytes]:
    """Status, Location and (of a 200) body of one request."""
    left_s = max(deadline - time.monotonic(), 0.001)
    connection = _CONNECTIONS[parts.scheme](parts.hostname or "", parts.port, timeout=left_s)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.connect()
        with _cut_at(connection.sock, deadline):
            connection.request("GET", target, headers={"Accept": "image/*", "User-Agent": f"bintally/{__version__}"})
            with connection.getresponse() as response:
                body = _read(response, max_bytes) if response.status == 200 else b""
                location = response.getheader("Location")
    except (OSError, HTTPException, ValueError) as error:
        raise _unreachable("it took too long" if time.monotonic() >= deadline else str(error) or "no answer") from None
    finally:
        connection.close()
    if time.monotonic() >= deadline:  # the cut looks like the end of the body
        raise _unreachable("it took too long")
    return response.status, location, body


def _read(response: HTTPResponse, max_bytes: int) -> bytes:
    if (response.length or 0) > max_bytes:
        raise too_large(max_bytes)
    body = bytearray()
    while chunk := response.read1(2**16):
        body += chunk
        if len(body) > max_bytes:
            raise too_large(max_bytes)
    return bytes(body)


@contextmanager
def _cut_at(sock: socket.socket, deadline: float) -> Iterator[None]:
    """Ends the connection at `deadline`: a socket's own timeout starts anew with each byte a slow server drips."""

    def cut() -> None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(deadline - time.monotonic(), 0), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _unreachable(why: str) -> RequestError:
    return RequestError(
        f"The photo can't be fetched from its URL: {why}.",
        status=400,
        code="url_unreachable",
        hint="Open the URL from the service's machine, or send the photo itself.",
    )
