"""What connectors share that speak HTTP: an address that is checked, and answers that mean "later"."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Annotated, Any, Final

import httpx2
from pydantic import AfterValidator

from bintally import __version__
from bintally.errors import ConfigError, ErpUnavailableError

MOST_BYTES: Final = 128 * 1024 * 1024
"""Of an answer, unpacked."""

_CONNECT_S: Final = 10.0
_CONNECTED: Final = frozenset({"connection.connect_tcp.complete", "connection.start_tls.complete"})
_ONE: Final = httpx2.Limits(max_connections=1)
_UNPACKED: Final = frozenset({"content-encoding", "content-length", "transfer-encoding"})


def _checked(url: str) -> str:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        parsed = httpx2.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo or set("?#") & set(url):
        raise ValueError("no address of a server, such as https://erp.example.com, without user and password")
    return url.rstrip("/")


Address = Annotated[str, AfterValidator(_checked)]
"""Of a server, such as https://erp.example.com; whatever opens its door is no part of it."""


class Deadline:
    """Ends calls that take too long, however steadily they are answered: httpx2's timeouts are those of each read.

    For a client with one connection (`limits`) whose requests have the extension `trace`.
    """

    limits: Final = _ONE

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._socket: socket.socket | None = None

    def trace(self, event: str, told: dict[str, Any]) -> None:
        """Hears of the connection."""
        if event in _CONNECTED:
            self._socket = told["return_value"].get_extra_info("socket")

    @contextmanager
    def kept(self) -> Iterator[threading.Event]:
        """A call, which is cut off when its time is over; what is told is set then.

        Raises:
            httpx2.ReadTimeout: it was.
        """
        is_over = threading.Event()
        timer = threading.Timer(self._seconds, self._cut, [is_over])
        timer.daemon = True
        timer.start()
        try:
            yield is_over
        except httpx2.HTTPError:
            if is_over.is_set():
                raise httpx2.ReadTimeout("It took too long.") from None
            raise
        finally:
            timer.cancel()

    def _cut(self, is_over: threading.Event) -> None:
        is_over.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


class Http:
    """Requests to one server, called `product` in errors. Redirects are not followed, and nothing is sent twice.

    Raises:
        ConfigError: a header that can't be sent.
    """

    def __init__(self, product: str, url: str, *, timeout_s: float, headers: dict[str, str]) -> None:
        if not all(value.isascii() and value.isprintable() for value in headers.values()):
            raise ConfigError(
                f"What {product} is sent as key, secret or database may have ASCII letters only.",
                hint="Look at the connection's secret and settings.",
            )
        self._product, self._url, self._deadline = product, url, Deadline(timeout_s)
        self._http = httpx2.Client(
            base_url=url,
            headers={"User-Agent": f"bintally/{__version__}", "Accept": "application/json"} | headers,
            timeout=httpx2.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
            limits=Deadline.limits,
        )

    def send(self, method: str, path: str, **content: Any) -> httpx2.Response:
        """What is answered, whether it says yes or no.

        Raises:
            ErpUnavailableError: nobody answered in time, or with too much, or it is busy or failed; what was asked for
                may have been done nevertheless.
        """
        try:
            response = self._answer(method, path, content)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ErpUnavailableError(
                f"{self._product} at {self._url} did not answer ({type(error).__name__}).",
                hint="Look whether it runs; the next `bintally erp post` tries again.",
            ) from None
        status = response.status_code
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ErpUnavailableError(
                f"{self._product} is busy or failed (HTTP {status}).",
                hint=f"Look at {self._product}'s log; the next `bintally erp post` tries again.",
                retry_after_s=retry_after_s(response.headers),
            )
        return response

    def close(self) -> None:
        """Ends connections."""
        self._http.close()

    def _answer(self, method: str, path: str, content: dict[str, Any]) -> httpx2.Response:
        extensions, body = {"trace": self._deadline.trace}, bytearray()
        with (
            self._deadline.kept() as is_over,
            self._http.stream(method, path, extensions=extensions, **content) as response,
        ):
            for part in response.iter_bytes():
                body += part
                if len(body) > MOST_BYTES:
                    raise ErpUnavailableError(f"{self._product} answers more than {MOST_BYTES:,} bytes.")
            if is_over.is_set():  # what was cut off may look like a whole answer
                raise httpx2.ReadTimeout("It took too long.")
        headers = [(name, value) for name, value in response.headers.multi_items() if name not in _UNPACKED]
        return httpx2.Response(response.status_code, headers=headers, content=bytes(body))


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """How long a server wants to be left alone: it tells seconds, or a date (RFC 9110, 10.2.3). None: it does not."""
    text = headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    try:
        return max((parsedate_to_datetime(text).astimezone(UTC) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, OverflowError):
        return None


def json_of(response: httpx2.Response) -> Any:
    """What was answered as JSON; None: it was something else."""
    try:
        return response.json()
    except ValueError:
        return None
