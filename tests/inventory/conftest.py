"""Ledgers on both databases: a SQLite file, and a database of the PostgreSQL that the tests start themselves."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from bintally.inventory.ledger import Ledger
from tests.databases import drop_database, new_database, template_of, url_of, with_tables

DATABASES = ("sqlite", "postgresql")


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
