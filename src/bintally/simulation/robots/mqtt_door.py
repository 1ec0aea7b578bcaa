"""A robot that publishes photos and hears counts: what is not answered for a while is published again, with its id."""

import asyncio
import math
import time
from typing import Final

import msgspec
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bintally.serving.answer import CountAnswer
from bintally.serving.mqtt.broker import Broker
from bintally.serving.refusals import ErrorDetail
from bintally.simulation.robots.book import Answer, Book, Shot
from bintally.simulation.robots.link import Link
from bintally.simulation.robots.settings import FleetSettings

AGAIN_S: Final = 15.0
"""A photo that was not answered for so long is published again; then after twice that time, and so on."""

_NOBODY_S: Final = 1.0  # before a photo is published again that nobody was there to get


class _Reply(msgspec.Struct):
    id: str
    answer: CountAnswer | None = None
    error: ErrorDetail | None = None


class MqttDoor:
    """One robot's connection to the broker, under the name `robot`.

    Raises:
        UsageError: a file of certificates or keys can't be used.
    """

    def __init__(self, settings: FleetSettings, book: Book, broker: Broker, robot: str) -> None:
        self._book, self._patience_s = book, settings.patience_s
        self._photos = f"{settings.topic}/photos/{robot}"
        self._link = Link(broker, robot, [f"{settings.topic}/counts/{robot}"], self._came)
        self._waiting: dict[str, asyncio.Event] = {}

    async def open(self) -> None:
        """Connects.

        Raises:
            RequestError: the broker is not there, or refuses.
        """
        await self._link.open()

    async def close(self) -> None:
        """Ends the connection."""
        await self._link.close()

    async def deliver(self, shot: Shot) -> None:
        """Publishes a photo until it is answered; the answer goes into the book."""
        self._book.sends(shot, "mqtt")
        answered = self._waiting[shot.id] = asyncio.Event()
        until = time.monotonic() + self._patience_s
        try:
            async with asyncio.timeout(self._patience_s):
                if shot.kind == "duplicate":
                    await self._sent(shot, until)
                taken = await self._sent(shot, until)
                if shot.kind == "dropout":
                    self._link.drop(shot.away_s)
                await self._until_answered(shot, answered, taken, until)
        except TimeoutError:
            pass  # lost
        finally:
            del self._waiting[shot.id]

    async def _until_answered(
        self, shot: Shot, answered: asyncio.Event, taken: "asyncio.Future[bool]", until: float
    ) -> None:
        wait_s = AGAIN_S
        while True:
            while not await taken:
                self._book.tried("nobody subscribes")
                await asyncio.sleep(_NOBODY_S)
                taken = await self._sent(shot, until)
            try:
                async with asyncio.timeout(wait_s):
                    await answered.wait()
                    return
            except TimeoutError:
                self._book.tried("no answer")
                taken = await self._sent(shot, until)
                wait_s *= 2

    async def _sent(self, shot: Shot, until: float) -> "asyncio.Future[bool]":
        return await self._link.publish(self._photos, shot.photo, _properties(shot, until))

    def _came(self, _topic: str, payload: bytes) -> None:
        try:
            reply = msgspec.json.decode(payload, type=_Reply)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._book.misfits.append(payload[:80].decode(errors="replace"))
            return
        if reply.answer is not None:
            answer = Answer.counted(reply.answer)
        else:
            error = reply.error or ErrorDetail("?", "", "")
            answer = Answer(error.code, of=reply.id, hint=f"{error.message} {error.hint}")
        self._book.hears(reply.id, answer)
        if (answered := self._waiting.get(reply.id)) is not None:
            answered.set()


def _properties(shot: Shot, until: float) -> Properties:
    known = {
        "id": shot.id,
        "bin_image_id": shot.id,
        "bin_id": shot.bin_id,
        "site": shot.site,
        "recorded_count": str(shot.recorded_count),
        "captured_at": shot.captured_at.isoformat(),
    }
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.UserProperty = [(name, value) for name, value in known.items() if value is not None]
    properties.MessageExpiryInterval = max(math.ceil(until - time.monotonic()), 1)
    return properties
