"""Before a fleet drives: is there anything to ask, and does it let us in?"""

import asyncio
import ssl
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import msgspec

from bintally.client.async_client import AsyncClient
from bintally.errors import MissingExtraError, RequestError
from bintally.simulation.robots.settings import FleetSettings

if TYPE_CHECKING:
    from bintally.serving.mqtt.broker import Broker

_PATIENCE_S: Final = 5.0


async def probe_http(settings: FleetSettings, photo: bytes, *, name: str, key: str | None, tls: ssl.SSLContext) -> None:
    """Has one photo counted.

    Raises:
        UsageError: no URL, or no key.
        RequestError: nobody is there, or the service refuses.
    """
    async with AsyncClient(settings.url or "", key=key, tls=tls, retries=2) as client:
        try:
            await client.count(photo, idempotency_key=name)
        except RequestError as error:
            if error.status != 401:
                raise
            raise RequestError(
                error.message,
                status=error.status,
                code=error.code,
                hint="Give a key with --key or $BINTALLY_KEY; `bintally keys create NAME` makes one.",
            ) from None


def broker_of(settings: FleetSettings) -> "Broker":
    """The broker.

    Raises:
        MissingExtraError: paho-mqtt is not installed.
        UsageError: the broker's URL can't be used.
    """
    if find_spec("paho") is None:
        raise MissingExtraError("paho-mqtt is not installed.", hint="Install it with `pip install 'bintally[mqtt]'`.")
    from bintally.serving.mqtt.broker import Broker

    return Broker.of(settings.mqtt or "")


async def probe_mqtt(settings: FleetSettings, broker: "Broker", *, name: str) -> None:
    """Looks whether a service is online behind the broker.

    Raises:
        RequestError: the broker is not there or refuses, or no service is.
    """
    from bintally.simulation.robots.link import Link

    is_online = asyncio.Event()

    def heard(_topic: str, payload: bytes) -> None:
        if payload and _is_online(payload):
            is_online.set()

    link = Link(broker, name, [f"{settings.topic}/status/+"], heard)
    try:
        await link.open()
        async with asyncio.timeout(_PATIENCE_S):
            await is_online.wait()
    except TimeoutError:
        raise RequestError(
            f"No service is online at {broker} under the topic {settings.topic}.",
            status=503,
            code="unreachable",
            hint="Start one with `bintally serve --mqtt URL`; its topic is BINTALLY_SERVE_MQTT_TOPIC.",
        ) from None
    finally:
        await link.close()


def _is_online(payload: bytes) -> bool:
    try:
        told = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return isinstance(told, dict) and told.get("status") == "online"
