from collections.abc import Iterator
from pathlib import Path

import pytest

from bintally.counting.counter import Counter
from bintally.serving.service import CountingService
from tests.serving.mqtt.brokers import Mosquitto, Robot, robot_of
from tests.serving.mqtt.doors import serving


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


@pytest.fixture
def service(counter: Counter, tmp_path: Path, broker: Mosquitto, robot: Robot) -> Iterator[CountingService]:
    with serving(counter, tmp_path / "state", broker.url, max_photo_mb=1) as service:
        robot.wait_for_service()
        yield service
