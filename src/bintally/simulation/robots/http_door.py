"""A robot that asks over HTTP: sends a photo again, with its key, until it is answered or its time is over."""

import asyncio
import random
import ssl
from typing import Final

from bintally.client.async_client import AsyncClient
from bintally.client.patience import Patience
from bintally.errors import RequestError
from bintally.serving.answer import CountAnswer
from bintally.simulation.robots.book import LOST, Answer, Book, Shot
from bintally.simulation.robots.settings import FleetSettings

_TRY_S: Final = 30.0
_TRIES: Final = 10_000  # time is what ends them
_BREAK_S: Final = 0.02  # at most so long after it was sent, a dropout breaks the connection


class HttpDoor:
    """One robot's connections.

    Raises:
        UsageError: no URL, or no key.
    """

    def __init__(self, settings: FleetSettings, book: Book, *, key: str | None, tls: ssl.SSLContext) -> None:
        self._book, self._patience_s = book, settings.patience_s
        # The client's own retries would not be seen; ours go by the same `Patience`.
        self._client = AsyncClient(
            settings.url or "", key=key, timeout_s=min(_TRY_S, settings.patience_s), retries=0, tls=tls
        )

    async def open(self) -> None:
        """Connects.

        Raises:
            RequestError: nobody is there.
        """
        await self._client.health()

    async def close(self) -> None:
        """Ends the connections."""
        await self._client.close()

    async def deliver(self, shot: Shot) -> None:
        """Sends a photo until it is answered; the answer goes into the book."""
        self._book.sends(shot, "http")
        times = 2 if shot.kind == "duplicate" else 1
        await asyncio.gather(*(self._deliver(shot) for _ in range(times)))

    async def _deliver(self, shot: Shot) -> None:
        answer = await self._asked(shot)
        if answer.code not in LOST:
            self._book.hears(shot.id, answer)

    async def _asked(self, shot: Shot) -> Answer:
        patience = Patience(timeout_s=self._patience_s, retries=_TRIES)
        if shot.kind == "dropout" and (answer := await self._broken_off(shot)) is not None:
            return answer
        while True:
            try:
                return Answer.counted(await self._once(shot))
            except RequestError as error:
                try:
                    pause_s = patience.pause_s(error)
                except RequestError:
                    return Answer.refused(error)
                self._book.tried(f"{error.status} {error.code}")
            await asyncio.sleep(pause_s)

    async def _broken_off(self, shot: Shot) -> Answer | None:
        """The answer, if it came before the connection broke."""
        try:
            async with asyncio.timeout(random.uniform(0, _BREAK_S)):
                return Answer.counted(await self._once(shot))
        except TimeoutError:
            self._book.tried("connection lost")
        except RequestError as error:
            self._book.tried(f"{error.status} {error.code}")
        await asyncio.sleep(shot.away_s)
        return None

    async def _once(self, shot: Shot) -> CountAnswer:
        return await self._client.count(
            shot.photo,
            bin_id=shot.bin_id,
            site=shot.site,
            bin_image_id=shot.id,
            recorded_count=shot.recorded_count,
            captured_at=shot.captured_at,
            idempotency_key=shot.id,
        )
