"""`AsyncClient`: asks the service from an event loop."""

import asyncio
import ssl
from collections.abc import Iterable
from typing import Self, Unpack

import httpx2

from bintally.client import calls
from bintally.client.calls import About, Asking, Call
from bintally.client.client import AT_ONCE
from bintally.client.patience import RETRIES, TIMEOUT_S, Patience
from bintally.client.photo import Photo
from bintally.client.records import Health, ServedModel
from bintally.client.transport import Setup, arguments
from bintally.errors import BintallyError, RequestError, UsageError
from bintally.serving.answer import CountAnswer


class AsyncClient:
    """As `Client`, for one event loop; its calls may run side by side. Files and images are read in threads."""

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
        self._http = httpx2.AsyncClient(**self._setup.settings)

    def __repr__(self) -> str:
        return f"AsyncClient({self._setup.url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def count(self, photo: Photo, **about: Unpack[About]) -> CountAnswer:
        """As `Client.count`."""
        return calls.answer_of(await self._done(await asyncio.to_thread(calls.count_photo, photo, **about)))

    async def count_url(self, url: str, **about: Unpack[About]) -> CountAnswer:
        """As `Client.count_url`."""
        return calls.answer_of(await self._done(calls.count_url(url, **about)))

    async def count_batch(
        self, photos: Iterable[Photo], *, at_once: int = AT_ONCE, **asked: Unpack[Asking]
    ) -> list[CountAnswer | BintallyError]:
        """As `Client.count_batch`."""
        turn = asyncio.Semaphore(max(at_once, 1))

        async def one(photo: Photo) -> CountAnswer | BintallyError:
            async with turn:
                try:
                    return await self.count(photo, **asked)
                except BintallyError as error:
                    return error

        return list(await asyncio.gather(*(one(photo) for photo in photos)))

    async def overlay(self, photo: Photo, **asked: Unpack[Asking]) -> bytes:
        """As `Client.overlay`."""
        return (await self._done(await asyncio.to_thread(calls.overlay, photo, **asked))).content

    async def model(self) -> ServedModel:
        """As `Client.model`."""
        return calls.model_of(await self._done(calls.MODEL))

    async def health(self) -> Health:
        """As `Client.health`."""
        return calls.health_of(await self._tried(calls.HEALTH, self._setup.patience()))

    async def _done(self, call: Call) -> httpx2.Response:
        patience = self._setup.patience()
        while True:
            try:
                return calls.check(await self._tried(call, patience))
            except RequestError as error:
                failure = error
            await asyncio.sleep(patience.pause_s(failure))

    async def _tried(self, call: Call, patience: Patience) -> httpx2.Response:
        """Whatever is answered to one try; an answer that drips is given up in time, too."""
        if self._http.is_closed:
            raise UsageError("The client is closed.", hint="Make another, or close it later.")
        try:
            async with asyncio.timeout(patience.left_s):
                return await self._http.request(**arguments(call, patience))
        except TimeoutError:
            raise patience.failure(httpx2.ReadTimeout(""), self._http.base_url) from None
        except httpx2.TransportError as error:
            raise patience.failure(error, self._http.base_url) from error
