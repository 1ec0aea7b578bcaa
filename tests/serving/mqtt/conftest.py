from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.mqtt.brokers import Mosquitto, Robot, robot_of


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker of its own for each test."""
    folder = tmp_path / "broker"
    folder.mkdir()
    mosquitto = Mosquitto(folder)
    mosquitto.start()
    try:
        yield mosquitto
    finally:
        mosquitto.stop()


@pytest.fixture
def robot(broker: Mosquitto) -> Iterator[Robot]:
    with robot_of(broker) as robot:
        yield robot
