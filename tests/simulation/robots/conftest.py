from collections.abc import Iterator
from pathlib import Path

import pytest

from bintally.simulation.robots.pool import Picture, Pool
from tests.bundles import bin_photo, make_bundle
from tests.serving.conftest import running
from tests.serving.mqtt.brokers import Mosquitto


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose network reads the count off the brightness (see tests/bundles.py)."""
    return make_bundle(tmp_path_factory.mktemp("robots") / "tiny")


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos that show 0 to 5 items."""
    folder = tmp_path_factory.mktemp("robots") / "photos"
    folder.mkdir()
    for count in range(6):
        (folder / f"{count}.jpg").write_bytes(bin_photo(count, image_format="JPEG"))
    return folder


@pytest.fixture(scope="session")
def pool() -> Pool:
    return Pool(Picture(bin_photo(count, image_format="JPEG"), count) for count in range(6))


@pytest.fixture(scope="module")
def url(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service, in a process of its own."""
    with running(bundle, "--state", tmp_path_factory.mktemp("state"), "--threads", "1") as (url, _):
        yield url


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker of its own for each test."""
    folder = tmp_path / "broker"
    folder.mkdir()
    mosquitto = Mosquitto(folder, "allow_anonymous true", "set_tcp_nodelay true")
    mosquitto.start()
    try:
        yield mosquitto
    finally:
        mosquitto.stop()
