"""`Engine`: what counts photos for the service, and how the service waits for it."""

from typing import Protocol

import msgspec

from bintally.bundle import Card
from bintally.counting.counter import Counter
from bintally.records import CountEstimate
from bintally.serving.asked import Asked


class Load(msgspec.Struct, frozen=True):
    """How much an engine has to do, and in which batches it has counted so far."""

    waiting: int  # photos that nobody works on yet
    working: int  # photos that are decoded or counted now
    wait_s: float  # what a photo that comes now will wait, as far as can be told
    batches: dict[int, int] = {}  # photos in one inference -> inferences of that size since the start


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
        """Ends its threads, after what is under way. Whoever took it before may still ask, and is answered."""
