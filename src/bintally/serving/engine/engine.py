"""`Engine`: what counts photos for the service, and how the service waits for it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

import msgspec

from bintally.bundle import Card
from bintally.counting.counter import Counter
from bintally.errors import UsageError
from bintally.records import CountEstimate
from bintally.serving.asked import Asked
from bintally.serving.refusals import invalid

AT_ONCE: Final = 2


class Load(msgspec.Struct, frozen=True):
    """How much an engine has to do."""

    waiting: int  # photos that nobody works on yet
    working: int  # photos that are decoded or counted now
    wait_s: float  # what a photo that comes now will wait, as far as can be told


class Engine(Protocol):
    """Counts photos, in an order and in batches of its own. One event loop uses it."""

    @property
    def card(self) -> Card:
        """The model's card."""

    @property
    def counter(self) -> Counter:
        """The loaded model, for what is not on the hot path (pairs, overlays)."""

    async def count(self, asked: Asked, photo: bytes) -> CountEstimate:
        """Counts one photo.

        Raises:
            PhotoError: not a photo that can be read.
            RequestError: 503, more are waiting than may; 504, its deadline passed; 422, counts the model does not know.
        """

    def load(self) -> Load:
        """How much there is to do."""

    async def close(self) -> None:
        """Ends its threads, after what is under way."""


class PlainEngine:
    """One thread a photo, each a batch of its own."""

    def __init__(self, counter: Counter, *, at_once: int = AT_ONCE) -> None:
        self.counter = counter
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="count")
        self._under_way = 0

    @property
    def card(self) -> Card:
        """The model's card."""
        return self.counter.card

    async def count(self, asked: Asked, photo: bytes) -> CountEstimate:
        """As `Engine.count`."""
        try:
            counter = self.counter.restricted(asked.counts)
        except UsageError as error:
            raise invalid(error.message) from None
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, counter.count, photo)
        finally:
            self._under_way -= 1

    def load(self) -> Load:
        """As `Engine.load`."""
        return Load(0, self._under_way, 0.0)

    async def close(self) -> None:
        """As `Engine.close`."""
        await asyncio.to_thread(self._pool.shutdown)
