"""The connection to the broker: kept up through outages by paho's thread, used from one event loop.

The session outlives connections: what the broker has sent and we have not acknowledged, it sends again after a
reconnect. What we have published and the broker has not acknowledged, paho keeps and sends again.
"""

import asyncio
import hashlib
import random
import ssl
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from bintally.errors import StorageError
from bintally.serving.asked import JSON_TYPE
from bintally.serving.mqtt.broker import Broker
from bintally.serving.mqtt.messages import Arrived

SESSION_S: Final = 24 * 3600
"""How long the broker keeps our photos while we are away."""

_KEEPALIVE_S: Final = 20
_MAX_DELAY_S: Final = 30  # between attempts to connect
_QOS: Final = 1  # at least once


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What is agreed with the broker on connecting.

    `leaving`: the session is another's, who is gone. It takes no more photos, and ends when it has none left.
    """

    client_id: str
    leaving: bool = False
    subscription: str
    status_topic: str
    online: bytes  # published there, retained, while we are
    offline: bytes  # and this, by the broker where need be, when we are not
    receive_maximum: int  # unacknowledged photos that the broker may send
    max_packet_bytes: int  # larger ones the broker throws away


class Connection:
    """`on_arrived` is told what comes, `on_trouble` what does not work (None: all does), both in the running loop.

    Raises:
        UsageError: a file of certificates or keys can't be used.
    """

    def __init__(
        self,
        broker: Broker,
        terms: Terms,
        *,
        on_arrived: Callable[[Arrived], None],
        on_trouble: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        self._broker, self._terms, self._loop = broker, terms, asyncio.get_running_loop()
        self._on_arrived, self._on_trouble = on_arrived, on_trouble
        self._number = 0  # of the connection
        self._is_refused = self._has_left = False
        self._unacknowledged, self._last_came = 0, 0.0
        self._ending = threading.Event()
        self._published: dict[int, asyncio.Future[None]] = {}
        self._client = self._made(broker.tls_context() if broker.tls else None)

    def start(self) -> None:
        """Connects in the background, now or as soon as the broker is there."""
        self._on_trouble(f"not connected to {self._broker} yet")
        self._client.connect_async(
            self._broker.host, self._broker.port, _KEEPALIVE_S, clean_start=False, properties=self._connect_properties()
        )
        self._client.loop_start()

    def is_empty(self, quiet_s: float) -> bool:
        """Whether nothing came for so long, and nothing can come any more: we have left, and all is acknowledged."""
        return self._has_left and not self._unacknowledged and time.monotonic() - self._last_came > quiet_s

    async def stop(self, *, forget: bool = False) -> None:
        """Says goodbye and ends the thread; the session stays, unless it is to be forgotten."""
        if self._client.is_connected() and not self._terms.leaving:
            waiting = self.publish(self._terms.status_topic, self._terms.offline, retain=True)
            await asyncio.wait([waiting], timeout=2)
        self._ending.set()
        properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
        if forget:
            properties.SessionExpiryInterval = 0
        self._client.disconnect(properties=properties)
        await asyncio.to_thread(self._client.loop_stop)
        for future in self._published.values():
            future.cancel()

    def publish(
        self, topic: str, payload: bytes, *, correlation: bytes | None = None, retain: bool = False
    ) -> asyncio.Future[None]:
        """Publishes at least once; done when the broker has it, be that after an outage.

        The future's exception is a StorageError where the broker refuses it for good.
        """
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ContentType = JSON_TYPE
        properties.PayloadFormatIndicator = 1  # UTF-8
        if correlation is not None:
            properties.CorrelationData = correlation
        future: asyncio.Future[None] = self._loop.create_future()
        sent = self._client.publish(topic, payload, qos=_QOS, retain=retain, properties=properties)
        if sent.rc in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):  # kept until there is one
            self._published[sent.mid] = future
        else:
            future.set_exception(StorageError(f"The answer can't be published: {sent.rc!s}."))
        return future

    def _acknowledge(self, packet: int, qos: int, number: int) -> None:
        """Tells the broker that this one need not come again. One of an earlier connection does come again."""
        if qos and number == self._number:
            self._unacknowledged -= 1
            self._client.ack(packet, qos)

    def _made(self, context: ssl.SSLContext | None) -> Client:
        client = Client(CallbackAPIVersion.VERSION2, client_id=self._terms.client_id, protocol=MQTTv5, manual_ack=True)
        if self._broker.user is not None:
            client.username_pw_set(self._broker.user, self._broker.password)
        if context is not None:
            client.tls_set_context(context)
        if not self._terms.leaving:
            client.will_set(self._terms.status_topic, self._terms.offline, qos=_QOS, retain=True)
        client.reconnect_delay_set(1, _MAX_DELAY_S)
        client.on_connect, client.on_connect_fail = self._connected, self._failed
        client.on_disconnect, client.on_subscribe = self._disconnected, self._subscribed
        client.on_message, client.on_publish = self._came, self._acknowledged
        client.on_unsubscribe = self._left
        return client

    def _connect_properties(self) -> Properties:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_S
        properties.ReceiveMaximum = self._terms.receive_maximum
        properties.MaximumPacketSize = self._terms.max_packet_bytes
        return properties

    def _begin(self) -> None:
        self._unacknowledged, self._last_came = 0, time.monotonic()

    def _arrive(self, arrived: Arrived) -> None:
        self._unacknowledged += arrived.qos > 0
        self._last_came = time.monotonic()
        self._on_arrived(arrived)

    def _tell(self, function: Callable[..., None], *arguments: Any) -> None:
        self._loop.call_soon_threadsafe(function, *arguments)

    # Called in paho's thread.

    def _connected(
        self, client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._is_refused = reason.is_failure
        if reason.is_failure:
            self._tell(self._on_trouble, f"{self._broker} refuses us: {reason}")
            return
        self._number += 1
        self._tell(self._begin)
        if self._terms.leaving:
            client.unsubscribe(self._terms.subscription)
        else:
            client.subscribe(self._terms.subscription, qos=_QOS)

    def _left(self, *_: Any) -> None:
        self._has_left = True

    def _subscribed(
        self, client: Client, _data: Any, _packet: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self._tell(self._on_trouble, f"{self._broker} refuses {self._terms.subscription}: {reasons[0]}")
            return
        self._tell(self._on_trouble, None)
        self._tell(self._say_online)

    def _say_online(self) -> None:
        self.publish(self._terms.status_topic, self._terms.online, retain=True).add_done_callback(seen)

    def _disconnected(
        self, _client: Client, _data: Any, _flags: DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if not (self._ending.is_set() or self._is_refused):  # a refusal says more than the end that follows it
            self._tell(self._on_trouble, f"the connection to {self._broker} broke: {reason}")

    def _failed(self, _client: Client, _data: Any) -> None:
        why = sys.exc_info()[1]  # paho tells nothing, but calls us where it handles the error
        self._tell(self._on_trouble, f"{self._broker} can't be reached: {getattr(why, 'strerror', None) or why}")
        self._ending.wait(random.uniform(0, 1))  # so that a fleet does not come back as one

    def _came(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        done = partial(self._acknowledge, message.mid, message.qos, self._number)
        self._tell(self._arrive, _arrived(message, done))

    def _acknowledged(
        self, _client: Client, _data: Any, packet: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._tell(self._settle, packet, f"{reason}" if reason.is_failure else None)

    def _settle(self, packet: int, refused: str | None) -> None:
        future = self._published.pop(packet, None)
        if future is None or future.done():
            return
        if refused is None:
            future.set_result(None)
        else:
            future.set_exception(StorageError(f"{self._broker} refuses the answer: {refused}."))


def seen(future: asyncio.Future[None]) -> None:
    """Takes note of a failure that nobody waits for."""
    if not future.cancelled():
        future.exception()


def _arrived(message: MQTTMessage, acknowledge: Callable[[], None]) -> Arrived:
    told = message.properties
    return Arrived(
        topic=message.topic,
        payload=bytes(message.payload),
        digest=hashlib.sha256(message.payload).hexdigest(),
        qos=message.qos,
        retained=message.retain,
        acknowledge=acknowledge,
        content_type=getattr(told, "ContentType", ""),
        response_topic=getattr(told, "ResponseTopic", None),
        correlation=getattr(told, "CorrelationData", None),
        properties=tuple((name, value) for name, value in getattr(told, "UserProperty", ())),
        expires_in_s=getattr(told, "MessageExpiryInterval", None),
    )
