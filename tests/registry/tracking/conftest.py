"""A finished run with its log, bundle and report; a registry beside a fresh MLflow store."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bintally.registry.place import Registry
from bintally.registry.tracking.reached import reached
from tests.registry.conftest import bundle
from tests.registry.tracking.tracked import World, make_world, place_with

__all__ = ["bundle"]


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A training's folders. Never changed."""
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="package")
def fresh_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's SQLite file before anything was told; to make one takes a second."""
    folder = tmp_path_factory.mktemp("store")
    with Registry.open(folder, create=True) as registry, reached(registry) as tracker:
        tracker.client.search_experiments()
    return folder / "tracking" / "mlflow.sqlite"


@pytest.fixture
def registry(tmp_path: Path, fresh_store: Path) -> Iterator[Registry]:
    """A registry whose MLflow is the SQLite file beside it."""
    with place_with(tmp_path / "registry", fresh_store) as made:
        yield made


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server on this machine, which keeps artifacts itself."""
    folder = tmp_path_factory.mktemp("server")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/server.sqlite", "--artifacts-destination", str(folder / "kept"),
    ]  # fmt: skip
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said, start_new_session=True)
        try:
            yield _ready(f"http://127.0.0.1:{port}", process, folder / "said")
        finally:
            _end(process)


def _ready(url: str, process: "subprocess.Popen[bytes]", said: Path) -> str:
    """The server's address, as soon as it answers."""
    for _ in range(600):
        with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5):
            return url
        assert process.poll() is None, said.read_text()
        time.sleep(0.1)
    pytest.fail(said.read_text())


def _end(process: "subprocess.Popen[bytes]") -> None:
    """The server and the workers that it has started: a session of their own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
