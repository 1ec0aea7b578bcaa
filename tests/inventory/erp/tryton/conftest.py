"""One Tryton for all tests of its connector; each takes bins of its own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bintally.artifacts import atomic_folder, one_at_a_time
from bintally.inventory.erp.tryton import TrytonConnector
from tests.inventory.erp.tryton_server import Tryton, TrytonBench, running


@pytest.fixture(scope="session")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a database that copies are made of: one for all processes of a test run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "tryton"
    with one_at_a_time(folder):
        if not folder.exists():
            with atomic_folder(folder) as made:
                Tryton.initialised(made)
    return folder


@pytest.fixture(scope="session")
def tryton(initialised: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tryton]:
    with running(initialised, tmp_path_factory.mktemp("tryton")) as server:
        yield server


@pytest.fixture(scope="session")
def bench(tryton: Tryton) -> TrytonBench:
    return TrytonBench(tryton)


@pytest.fixture
def connector(tryton: Tryton) -> Iterator[TrytonConnector]:
    made = tryton.connector()
    yield made
    made.close()
