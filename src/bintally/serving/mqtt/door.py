"""The door itself: photos in, answers out, and an acknowledgement only when the answer is with the broker.

    arrived -> question -> CountingService -> published -> the broker has it -> acknowledged

A kill anywhere before the last step brings the photo again; its id makes the answer the same.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Final

import msgspec

from bintally import __version__
from bintally.errors import BintallyError
from bintally.serving.answer import CountAnswer
from bintally.serving.mqtt.broker import Broker, prefix_of
from bintally.serving.mqtt.connection import Connection, Terms, seen
from bintally.serving.mqtt.inheritance import inherit
from bintally.serving.mqtt.messages import Arrived, PhotoMessage, asked_of, name_of, question, reply, reply_topic
from bintally.serving.mqtt.patience import StoppingError, counted_at_last
from bintally.serving.mqtt.slots import own_slot
from bintally.serving.refusals import invalid
from bintally.serving.service import CountingService
from bintally.serving.settings import ServeConfig

GROUP: Final = "bintally"
"""Of the shared subscription: each photo goes to one process of all that serve a topic."""

MAX_AT_ONCE: Final = 16
_SPARE_BYTES: Final = 65_536  # of a packet, for topic, properties and JSON beside the photo
_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_door(service: CountingService, config: ServeConfig) -> AsyncIterator[None]:
    """Takes photos from `config.mqtt` while the block runs; photos under way are answered before it ends.

    Raises:
        UsageError: the broker's URL, its files or the topic can't be used.
    """
    broker, prefix = Broker.of(config.mqtt or ""), prefix_of(config)
    door, folder = _Door(service, config, prefix), config.state_folder / "mqtt"
    with ExitStack() as stack:
        try:
            slot = stack.enter_context(own_slot(folder))
        except BintallyError as error:  # HTTP can do without
            door.trouble(error.message)
            yield
            return
        terms = _terms(service, config, prefix, slot.name)
        door.connection = Connection(broker, terms, on_arrived=door.arrived, on_trouble=door.trouble)
        door.connection.start()

        def leaving(name: str) -> Connection:
            theirs = msgspec.structs.replace(terms, client_id=name, leaving=True)
            return Connection(broker, theirs, on_arrived=door.arrived)

        heir = asyncio.create_task(inherit(folder, leaving, lambda name: door.forget(f"{prefix}/status/{name}")))
        try:
            yield
        finally:
            heir.cancel()
            await asyncio.gather(heir, return_exceptions=True)
            await door.close(config.shutdown_s)
            await door.connection.stop()


def at_once(config: ServeConfig) -> int:
    """Photos the broker may send before the first is acknowledged: no more than may wait, or than fit into memory."""
    return max(1, min(MAX_AT_ONCE, config.max_waiting, config.max_waiting_mb // config.max_photo_mb))


def _terms(service: CountingService, config: ServeConfig, prefix: str, name: str) -> Terms:
    told = {"client": name, "model": service.models.default.card.name, "version": __version__}
    return Terms(
        client_id=name,
        subscription=f"$share/{GROUP}/{prefix}/photos/+",
        status_topic=f"{prefix}/status/{name}",
        online=msgspec.json.encode({"status": "online", **told}),
        offline=msgspec.json.encode({"status": "offline", **told}),
        receive_maximum=at_once(config),
        # Base64 takes 4 bytes for 3. What is a little too large is still told so; what is twice too large never comes.
        max_packet_bytes=min(4 * 2 * config.max_photo_bytes // 3 + _SPARE_BYTES, 2**28 - 1),
    )


class _Work:
    """A photo under way, and all messages that its answer answers."""

    def __init__(self, arrived: Arrived) -> None:
        self.messages = [arrived]
        self.expires = float("inf") if arrived.expires_in_s is None else time.monotonic() + arrived.expires_in_s

    @property
    def first(self) -> Arrived:
        return self.messages[0]


class _Door:
    connection: Connection

    def __init__(self, service: CountingService, config: ServeConfig, prefix: str) -> None:
        self._service, self._prefix = service, prefix
        self._timeout_s, self._at_once = config.timeout_s, at_once(config)
        self._works: dict[tuple[object, ...], _Work] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False

    def trouble(self, what: str | None) -> None:
        """Health says so."""
        if what is None:
            if self._service.failures.pop("mqtt", None) is not None:
                _log.info("MQTT works")
        elif self._service.failures.get("mqtt") != what:
            _log.log(logging.INFO if "mqtt" not in self._service.failures else logging.WARNING, "MQTT: %s", what)
            self._service.failures["mqtt"] = what

    def arrived(self, message: Arrived) -> None:
        """A message came."""
        if self._is_closing:  # unacknowledged: it comes again, to whoever is there then
            return
        if message.retained:  # left there by somebody long ago, and would be counted after each restart
            message.acknowledge()
        elif work := self._works.get(message.identity):  # again, after a reconnect or by an impatient robot
            work.messages += [message] if message.qos else []
        elif message.qos or len(self._works) < self._at_once:
            self._begin(message)
        else:
            _log.warning("MQTT: a photo of QoS 0 was dropped on %s: too many at once", message.topic)

    def forget(self, status_topic: str) -> None:
        """Clears the retained status of somebody who will not come back."""
        self.connection.publish(status_topic, b"", retain=True).add_done_callback(seen)

    def _begin(self, message: Arrived) -> None:
        work = self._works[message.identity] = _Work(message)
        task = asyncio.create_task(self._answered(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self, patience_s: float) -> None:
        """Waits for what is under way; what is not done then comes again after a restart."""
        self._is_closing = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience_s)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answered(self, work: _Work) -> None:
        try:
            told = await self._told(work)
            if told is not None:
                topic, _ = reply_topic(work.first, self._prefix)
                await self._published(topic, told, work.first.correlation)
            for message in work.messages:
                message.acknowledge()
        except StoppingError:
            pass  # unacknowledged, on purpose
        finally:
            del self._works[work.first.identity]

    async def _published(self, topic: str, payload: bytes, correlation: bytes | None) -> None:
        try:
            await self.connection.publish(topic, payload, correlation=correlation)
        except BintallyError as error:  # it may not be told there; to count again would help nobody
            _log.warning("MQTT: an answer on %s was lost: %s", topic, error.message)

    async def _told(self, work: _Work) -> bytes | None:
        """What is answered; None: nobody waits for it any more."""
        try:
            if not reply_topic(work.first, self._prefix)[1]:
                raise invalid(
                    f"No answer is published on {work.first.response_topic!r}.",
                    hint=f"Name a response topic outside of {self._prefix}/, or below {self._prefix}/counts/.",
                )
            message = await asyncio.to_thread(question, work.first)
            answer = await self._counted(work, message)
            return None if answer is None else reply(message.id or work.first.digest, answer)
        except BintallyError as error:
            failure = error
        except StoppingError:
            raise
        except Exception:
            _log.exception("MQTT: a photo on %s could not be counted", work.first.topic)
            failure = BintallyError("The service failed on this photo.", hint="Its log says why.")
        return reply(await asyncio.to_thread(name_of, work.first), failure)

    async def _counted(self, work: _Work, message: PhotoMessage) -> CountAnswer | None:
        return await counted_at_last(
            self._service,
            lambda deadline: asked_of(message, work.first, deadline=deadline),
            timeout_s=self._timeout_s,
            expires=work.expires,
        )
