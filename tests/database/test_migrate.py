"""The migrations make exactly the tables that the code means, and go both ways."""

from collections.abc import Callable

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect

from bintally.database import Database, audit, leases
from bintally.database.migrate import config, upgrade, version_of
from bintally.errors import UsageError
from bintally.inventory import schema
from bintally.inventory.ledger import Ledger
from bintally.registry import schema as registry
from tests.inventory.conftest import DATABASES

TABLES = (audit.AuditLine, leases.LeaseRow, schema.Bin, registry.Model)


@pytest.fixture(params=DATABASES)
def bare(request: pytest.FixtureRequest, bare_place: Callable[[str], str]) -> str:
    """Where there is no ledger yet, once on each database."""
    return bare_place(request.param)


def test_migrations_make_the_tables_of_the_code(ledger: Ledger) -> None:
    with ledger.read() as connection:
        how = {"compare_type": True, "compare_server_default": True}
        found = compare_metadata(MigrationContext.configure(connection, opts=how), TABLES[0].metadata)
    assert found == []


def test_checks_are_there_too(ledger: Ledger) -> None:
    with ledger.read() as connection:
        seen = inspect(connection)
        for table in TABLES[0].metadata.sorted_tables:
            wanted = {check.name for check in table.constraints if str(check.name).startswith("ck_")}
            assert wanted <= {check["name"] for check in seen.get_check_constraints(table.name)}


def test_an_empty_database_is_brought_up_and_down_again(bare: str) -> None:
    with pytest.raises(UsageError, match="no ledger"):
        Database.open(bare)
    with Database.open(bare, create=True) as made:
        held, newest = version_of(made.engine)
        assert held == newest
        settings = config()
        with made.write() as connection:
            settings.attributes["connection"] = connection
            command.downgrade(settings, "base")
        assert inspect(made.engine).get_table_names() == ["alembic_version"]
        upgrade(made.engine)
        assert version_of(made.engine) == (newest, newest)


def test_a_migration_that_fails_leaves_the_old_version(bare: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_arguments: object) -> None:
        raise RuntimeError("the power went")

    with monkeypatch.context() as patched, pytest.raises(RuntimeError):
        patched.setattr("bintally.database.append_only.op.execute", failing)
        Database.open(bare, create=True)
    url = bare.replace("postgresql://", "postgresql+psycopg://") if "://" in bare else f"sqlite:///{bare}"
    engine = create_engine(url)
    assert inspect(engine).get_table_names() == []
    engine.dispose()
    Database.open(bare, create=True).close()
