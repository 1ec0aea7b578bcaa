"""`Client`: asks the service, from any number of threads."""

import ssl
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self, Unpack

import httpx2

from bintally.client import calls
from bintally.client.calls import About, Asking, Call
from bintally.client.patience import RETRIES, TIMEOUT_S, Patience
from bintally.client.photo import Photo
from bintally.client.records import Health, ServedModel
from bintally.client.transport import Setup, arguments
from bintally.errors import BintallyError, RequestError, UsageError
from bintally.serving.answer import CountAnswer

AT_ONCE: Final = 4
"""Photos of a batch that are under way at once."""


class Client:
    """A service's client. One may be shared by threads; used as a context manager, it closes its connections.

    A call that finds nobody (a restart), or a service that is busy (429, 503 with Retry-After), is tried again, with
    pauses that grow, `retries` times and for `timeout_s` seconds in all. Each count has an Idempotency-Key, so that
    no retry counts twice. `tls`: which certificates are trusted, where the system's are not the ones.

    Raises:
        UsageError: `url` is none, or `key` can't be one.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: int = RETRIES,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._setup = Setup.of(url, key=key, timeout_s=timeout_s, retries=retries, tls=tls)
        self._http = httpx2.Client(**self._setup.settings)

    def __repr__(self) -> str:
        return f"Client({self._setup.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def count(self, photo: Photo, **about: Unpack[About]) -> CountAnswer:
        """Counts the items in a photo: a path, a file's bytes or a Pillow image.

        Raises:
            RequestError: refused, with the service's status, code and hint; 503 `unreachable` and 504 `timeout` where
                it did not answer.
            PhotoError: its file can't be read.
            UsageError: it is no photo.
        """
        return calls.answer_of(self._done(calls.count_photo(photo, **about)))

    def count_url(self, url: str, **about: Unpack[About]) -> CountAnswer:
        """Counts the items in a photo that the service fetches; it must have been allowed that host.

        Raises:
            RequestError: as `count`.
        """
        return calls.answer_of(self._done(calls.count_url(url, **about)))

    def count_batch(
        self, photos: Iterable[Photo], *, at_once: int = AT_ONCE, **asked: Unpack[Asking]
    ) -> list[CountAnswer | BintallyError]:
        """Counts photos, `at_once` at a time, each a request of its own: an answer or an error for each, in order."""

        def one(photo: Photo) -> CountAnswer | BintallyError:
            try:
                return self.count(photo, **asked)
            except BintallyError as error:
                return error

        with ThreadPoolExecutor(max(at_once, 1), thread_name_prefix="bintally-client") as pool:
            return list(pool.map(one, photos))

    def overlay(self, photo: Photo, **asked: Unpack[Asking]) -> bytes:
        """The photo as a PNG, coloured where the model looks. It takes the service as long as some 40 counts.

        Raises:
            RequestError: as `count`.
        """
        return self._done(calls.overlay(photo, **asked)).content

    def model(self) -> ServedModel:
        """Which model counts, and how good it is.

        Raises:
            RequestError: as `count`.
        """
        return calls.model_of(self._done(calls.MODEL))

    def health(self) -> Health:
        """How the service is just now, asked once.

        Raises:
            RequestError: nobody answered, or not with that.
        """
        return calls.health_of(self._tried(calls.HEALTH, self._setup.patience()))

    def _done(self, call: Call) -> httpx2.Response:
        patience = self._setup.patience()
        while True:
            try:
                return calls.check(self._tried(call, patience))
            except RequestError as error:
                failure = error
            time.sleep(patience.pause_s(failure))

    def _tried(self, call: Call, patience: Patience) -> httpx2.Response:
        """Whatever is answered to one try; an answer that drips is given up in time, too."""
        if self._http.is_closed:
            raise UsageError("The client is closed.", hint="Make another, or close it later.")
        body = bytearray()
        try:
            with self._http.stream(**arguments(call, patience)) as response:
                for part in response.iter_raw():
                    body += part
                    patience.check_time()
        except httpx2.TransportError as error:
            raise patience.failure(error, self._http.base_url) from error
        return httpx2.Response(
            response.status_code, headers=response.headers, content=bytes(body), request=response.request
        )
