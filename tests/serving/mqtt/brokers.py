"""A real Mosquitto, and a robot that talks to it."""

import os
import queue
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from paho.mqtt.client import Client, ConnectFlags, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
PATIENCE_S = 60.0


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    """Waits until `is_so`, in vain for a minute at most."""
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.02)


class Mosquitto:
    """A broker on one port, that can be killed and started again; what it has taken in, it keeps on disk."""

    def __init__(self, folder: Path, *lines: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        self._log = folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None
        settings = [
            f"listener {self.port} 127.0.0.1",
            "persistence true",
            f"persistence_location {folder}/",
            "autosave_on_changes true",
            "autosave_interval 1",
            *(["user root"] if os.geteuid() == 0 else []),
            *(lines or ["allow_anonymous true"]),
        ]
        self._config.write_text("\n".join(settings) + "\n")

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        if MOSQUITTO is None:
            pytest.skip("needs Mosquitto (Debian: apt-get install mosquitto)")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([MOSQUITTO, "-c", str(self._config)], stdout=log, stderr=log)
        wait_until(self._answers, "for the broker")

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(sign)
            self._process.wait(20)
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Robot:
    """Publishes photos and hears what is answered."""

    def __init__(self, broker: Mosquitto, name: str = "robot-7", prefix: str = "bintally", **login: str) -> None:
        self.name, self._prefix = name, prefix
        self.heard: queue.SimpleQueue[MQTTMessage] = queue.SimpleQueue()
        self.answers: dict[str, list[dict[str, Any]]] = {}
        self.statuses: dict[str, dict[str, str]] = {}
        self._subscribed = 0
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=f"test-{name}", protocol=MQTTv5)
        if login:
            self._client.username_pw_set(login["user"], login["password"])
        self._client.on_connect, self._client.on_message = self._connected, self._came
        self._client.on_subscribe = self._count_subscribed
        self._client.reconnect_delay_set(1, 1)
        lasting = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        lasting.SessionExpiryInterval = 3600  # or answers are lost that come while it is away
        self._client.connect_async("127.0.0.1", broker.port, clean_start=False, properties=lasting)
        self._client.loop_start()
        wait_until(lambda: self._subscribed > 0, "for the robot's subscription")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(
        self,
        payload: bytes,
        *,
        told: Mapping[str, str] | None = None,
        response_topic: str | None = None,
        correlation: bytes | None = None,
        qos: int = 1,
        retain: bool = False,
        expires_s: int | None = None,
    ) -> None:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if told:
            properties.UserProperty = list(told.items())
        if response_topic is not None:
            properties.ResponseTopic = response_topic
        if expires_s is not None:
            properties.MessageExpiryInterval = expires_s
        if correlation is not None:
            properties.CorrelationData = correlation
        self._client.publish(
            f"{self._prefix}/photos/{self.name}", payload, qos=qos, retain=retain, properties=properties
        )

    def next(self) -> tuple[MQTTMessage, dict[str, Any]]:
        """The next answer, and what it says."""
        message = self.heard.get(timeout=PATIENCE_S)
        return message, msgspec.json.decode(message.payload)

    def ask(self, payload: bytes, **more: Any) -> dict[str, Any]:
        """Publishes a photo and waits for its answer."""
        self.publish(payload, **more)
        return self.next()[1]

    def wait_for_service(self, number: int = 1) -> None:
        """Waits until so many processes of the service are online."""
        wait_until(
            lambda: [each["status"] for each in self.statuses.values()].count("online") >= number, "for the service"
        )

    def _connected(self, client: Client, _data: Any, _flags: ConnectFlags, _reason: ReasonCode, _more: Any) -> None:
        client.subscribe([(f"{self._prefix}/counts/+", 1), (f"{self._prefix}/status/+", 1), ("elsewhere/#", 1)])

    def _count_subscribed(self, *_: Any) -> None:
        self._subscribed += 1

    def _came(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if not message.payload:  # a status that was cleared
            self.statuses.pop(message.topic, None)
            return
        told = msgspec.json.decode(message.payload)
        if message.topic.startswith(f"{self._prefix}/status/"):
            self.statuses[message.topic] = told
            return
        self.answers.setdefault(told["id"], []).append(told)
        self.heard.put(message)


@contextmanager
def robot_of(broker: Mosquitto, name: str = "robot-7", **more: Any) -> Iterator[Robot]:
    robot = Robot(broker, name, **more)
    try:
        yield robot
    finally:
        robot.close()
