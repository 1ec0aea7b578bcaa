"""One robot's connection to a broker, kept up by the event loop: hundreds of them need no threads.

paho reads and writes where the loop says that its socket is ready. Its session outlives connections: what was published
and not acknowledged, paho sends again; what was answered meanwhile, the broker keeps.
"""

import asyncio
import random
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from bintally.errors import RequestError
from bintally.serving.mqtt.broker import Broker

_KEEPALIVE_S: Final = 60
_LOOK_S: Final = 5.0  # between looks at whether a ping is due
_SESSION_S: Final = 3600
_OPEN_S: Final = 15.0
_CLOSE_S: Final = 2.0
_PAUSES_S: Final = (0.2, 5.0)  # between tries to connect: the first, the longest
_QOS: Final = 1
_NOBODY: Final = 0x10  # MQTT 5's reason "no matching subscribers", which is no failure


class Link:
    """A connection that subscribes to `topics`; `on_message` is told topic and payload of what comes.

    Used by one event loop.

    Raises:
        UsageError: a file of certificates or keys can't be used.
    """

    def __init__(
        self, broker: Broker, client_id: str, topics: Sequence[str], on_message: Callable[[str, bytes], None]
    ) -> None:
        self._broker, self._topics, self._on_message = broker, topics, on_message
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._ready, self._broken = asyncio.Event(), asyncio.Event()
        self._away_s = 0.0
        self._first: asyncio.Future[None] = self._loop.create_future()  # the first connection
        self._published: dict[int, asyncio.Future[bool]] = {}
        self._keeping: asyncio.Task[None] | None = None
        self._client = self._made(client_id)

    async def open(self) -> None:
        """Connects and subscribes.

        Raises:
            RequestError: the broker is not there, or refuses.
        """
        try:
            await self._connect()
            self._keeping = asyncio.create_task(self._keep_up())
            async with asyncio.timeout(_OPEN_S):
                await self._first
        except (OSError, ValueError) as error:  # a TimeoutError is an OSError
            raise RequestError(
                f"The broker {self._broker} can't be used: {_words(error)}.",
                status=503,
                code="unreachable",
                hint="Is it running there? Are its user and password right?",
            ) from None

    async def publish(self, topic: str, payload: bytes, properties: Properties) -> "asyncio.Future[bool]":
        """Hands a message over, once there is a connection; from then on it is published at least once.

        The future is done when the broker has it, and tells whether anybody is there to get it: a broker that comes
        back may have forgotten who shared a subscription, and throws away what nobody subscribes to.
        """
        await self._ready.wait()
        sent = self._client.publish(topic, payload, qos=_QOS, properties=properties)
        taken: asyncio.Future[bool] = self._loop.create_future()
        if sent.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._published[sent.mid] = taken
        else:
            taken.set_result(False)
        return taken

    def drop(self, away_s: float) -> None:
        """Breaks the connection, as a robot does that leaves the radio's reach; it is back after `away_s`."""
        self._away_s = away_s
        if isinstance(opened := self._client.socket(), socket.socket):
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        """Says goodbye and has the session forgotten."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self._client.is_connected():
            properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 0
            self._broken.clear()
            self._client.disconnect(properties=properties)
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await self._broken.wait()
        if (opened := self._client.socket()) is not None:
            self._unwatch(None, None, opened)
            opened.close()

    async def _keep_up(self) -> None:
        """Connects again whenever the connection breaks."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._broken.wait()
            if not self._broken.is_set():
                self._client.loop_misc()
                continue
            await asyncio.sleep(self._away_s)
            self._away_s, pause_s = 0.0, _PAUSES_S[0]
            while self._broken.is_set():
                with suppress(OSError, ValueError):
                    await self._connect()
                    break
                await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # a fleet should not come back as one
                pause_s = min(2 * pause_s, _PAUSES_S[1])

    async def _connect(self) -> None:
        """Connects in a thread, since paho waits for it, and lets the loop watch the socket."""
        await asyncio.to_thread(self._client.reconnect)
        self._broken.clear()
        opened = self._client.socket()
        if opened is None:
            raise ConnectionError("the connection broke at once")
        if isinstance(opened, socket.socket):  # Nagle's algorithm would hold small packets back for 40 ms
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop.add_reader(opened, self._read)
        if self._client.want_write():
            self._loop.add_writer(opened, self._client.loop_write)

    def _made(self, client_id: str) -> Client:
        client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTv5)
        if self._broker.user is not None:
            client.username_pw_set(self._broker.user, self._broker.password)
        if self._broker.tls:
            client.tls_set_context(self._broker.tls_context())
        client.on_connect, client.on_subscribe, client.on_disconnect = self._connected, self._subscribed, self._left
        client.on_message, client.on_publish = self._came, self._taken
        client.on_socket_close = self._unwatch
        client.on_socket_register_write = self._wants_write
        client.on_socket_unregister_write = self._wrote
        lasting = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        lasting.SessionExpiryInterval = _SESSION_S
        client.connect_async(self._broker.host, self._broker.port, _KEEPALIVE_S, clean_start=False, properties=lasting)
        return client

    def _read(self) -> None:
        self._client.loop_read()
        while isinstance(opened := self._client.socket(), ssl.SSLSocket) and opened.pending():
            self._client.loop_read()  # what TLS has read already, no selector tells of

    def _refused(self, why: str) -> None:
        if not self._first.done():
            self._first.set_exception(ConnectionError(why))

    # Called by paho.

    def _wants_write(self, _client: Client, _data: Any, opened: Any) -> None:
        if threading.get_ident() == self._thread:  # while it connects, nobody watches the socket yet
            self._loop.add_writer(opened, self._client.loop_write)

    def _wrote(self, _client: Client, _data: Any, opened: Any) -> None:
        self._loop.remove_writer(opened)

    def _unwatch(self, _client: Client | None, _data: Any, opened: Any) -> None:
        self._loop.remove_reader(opened)
        self._loop.remove_writer(opened)

    def _connected(
        self, client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._refused(f"it refuses us: {reason}")
        else:
            client.subscribe([(topic, _QOS) for topic in self._topics])

    def _subscribed(
        self, _client: Client, _data: Any, _packet: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        refused = next((reason for reason in reasons if reason.is_failure), None)
        if refused is None:
            self._ready.set()
            if not self._first.done():
                self._first.set_result(None)
        else:
            self._refused(f"it refuses {' and '.join(self._topics)}: {refused}")

    def _left(
        self, _client: Client, _data: Any, _flags: DisconnectFlags, _reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._ready.clear()
        self._broken.set()

    def _taken(
        self, _client: Client, _data: Any, packet: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        taken = self._published.pop(packet, None)
        if taken is not None and not taken.done():
            taken.set_result(not reason.is_failure and reason.value != _NOBODY)

    def _came(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self._on_message(message.topic, bytes(message.payload))


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {_OPEN_S:.0f} s"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
