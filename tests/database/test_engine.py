"""A database is opened or says why not; what is written is whole."""

import builtins
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from bintally.database import Database, audit
from bintally.errors import MissingExtraError, StorageError, UsageError
from bintally.inventory.ledger import Ledger


def test_what_is_no_ledger_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no ledger .*init PLACE"):
        Database.open(tmp_path / "none.sqlite")
    (tmp_path / "text.sqlite").write_text("this is a text, and no database at all. " * 50)
    for create in (False, True):
        with pytest.raises(UsageError, match="is a file of another kind"):
            Database.open(tmp_path / "text.sqlite", create=create)
    (tmp_path / "empty.sqlite").touch()
    with pytest.raises(UsageError, match="is no ledger yet"):
        Database.open(tmp_path / "empty.sqlite")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="can't be"):
        Database.open(tmp_path / "folder", create=True)
    with pytest.raises(StorageError, match="can't be written"):
        Database.open(tmp_path / "file" / "ledger.sqlite", create=True)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("mysql://me@host/stock", "keeps no ledger in mysql.*postgresql://USER@HOST/NAME"),
        ("://", "is no database"),
    ],
)
def test_a_kind_of_database_that_is_not_known_is_refused(place: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Database.open(place)


def test_a_newer_ledger_is_left_alone(ledger: Ledger, place: str) -> None:
    with ledger.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for create in (False, True):
        with pytest.raises(UsageError, match=r"written by a newer bintally \(version 9999\)"):
            Database.open(place, create=create)


def test_without_the_driver_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "psycopg":
            raise ModuleNotFoundError(name=name)
        return real(name, *arguments, **more)

    for module in [name for name in sys.modules if name.partition(".")[0] == "psycopg"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'bintally\[postgres\]'"):
        Database.open("postgresql://me@host/stock")


def test_a_password_is_not_shown() -> None:
    with pytest.raises(StorageError) as caught:
        Database.open("postgresql://me:hush@127.0.0.1:9/none")
    assert "hush" not in str(caught.value)
    assert "postgresql://me:***@127.0.0.1:9/none can't be used" in str(caught.value), "and no driver nobody named"


def test_postgres_is_a_name_of_postgresql() -> None:
    with pytest.raises(StorageError, match=r"^postgresql://me@127\.0\.0\.1:9/none can't be used"):
        Database.open("postgres://me@127.0.0.1:9/none")


def test_readers_see_one_moment_and_never_wait(ledger: Ledger) -> None:
    with ledger.read() as reader:
        assert audit.head(reader).number == 0
        with ledger.write() as writer:
            audit.append(writer, actor="test", action="add", subject="x", body={})
            assert audit.head(reader).number == 0
        assert audit.head(reader).number == 0
    with ledger.read() as reader:
        assert audit.head(reader).number == 1


_WRITER = """
import sys, time
from bintally.database import audit
from bintally.inventory.intake import take_record
from bintally.inventory.ledger import Ledger, site_of
from datetime import UTC, datetime

with Ledger.open(sys.argv[1]) as ledger:
    with ledger.write() as connection:
        for number in range(5):
            take_record(
                connection, site_of(connection), bin=f"K-{number}", quantity=1, source="erp",
                effective_at=datetime(2026, 1, 1, tzinfo=UTC), create_bins=True,
            )
            if number == 3 and sys.argv[2] == "inside":
                print("now", flush=True)
                time.sleep(60)
    print("now", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(("moment", "records"), [("inside", 0), ("after", 5)])
def test_a_kill_leaves_all_or_nothing(ledger: Ledger, place: str, moment: str, records: int) -> None:
    from bintally.inventory.ledger import add_site

    with ledger.write() as connection:
        add_site(connection, code="S")
    command = [sys.executable, "-c", _WRITER, place, moment]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "now\n"
        os.kill(child.pid, signal.SIGKILL)
    with ledger.write() as connection:  # whoever comes next can write at once
        found = connection.execute(text("SELECT (SELECT count(*) FROM stock_record), (SELECT count(*) FROM bin)")).one()
        assert tuple(found) == (records, records)
        assert audit.verify(connection).lines == 1 + 2 * records
        audit.append(connection, actor="test", action="add", subject="x", body={})
        assert audit.verify(connection).is_whole


def test_a_folder_is_made_for_a_new_file(tmp_path: Path) -> None:
    with Database.open(tmp_path / "a" / "b" / "l.sqlite", create=True) as made:
        assert made.is_sqlite
    with Database.open(f"sqlite:///{tmp_path}/a/b/l.sqlite") as again, again.read() as connection:
        assert audit.head(connection).number == 0
