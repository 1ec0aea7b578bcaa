"""The chain finds what was done to it, and appends without a gap whoever writes."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from bintally.database import audit
from bintally.database.audit import AuditLine, Head
from bintally.errors import UsageError
from bintally.inventory.ledger import Ledger

LINES = 8


def _append(connection: Connection, number: int) -> Head:
    return audit.append(
        connection, actor="test", action="add", subject=f"thing:{number % 3}", body={"b": number, "a": "ü\n"}
    )


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    """A ledger with a few lines."""
    with ledger.write() as connection:
        for number in range(LINES):
            _append(connection, number)
    return ledger


def _unguarded(connection: Connection) -> None:
    """As somebody who may do anything to the database."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("ALTER TABLE audit DISABLE TRIGGER USER"))
    else:
        for change in ("update", "delete"):
            connection.execute(text(f"DROP TRIGGER audit_no_{change}"))


def test_a_chain_is_whole_and_read_in_order(filled: Ledger) -> None:
    with filled.read() as connection:
        found = audit.verify(connection)
        assert (found.is_whole, found.lines, found.head) == (True, LINES, audit.head(connection))
        assert [line.body["b"] for line in audit.entries(connection, subject="thing:1")] == [1, 4, 7]
        assert [line.number for line in audit.entries(connection, after=6)] == [7, 8]


def _change(connection: Connection) -> None:
    connection.execute(update(AuditLine).where(AuditLine.number == 4).values(actor="somebody else"))


def _remove(connection: Connection) -> None:
    connection.execute(delete(AuditLine).where(AuditLine.number == 4))


def _remove_and_close_up(connection: Connection) -> None:
    _remove(connection)
    for number in range(5, LINES + 1):
        connection.execute(update(AuditLine).where(AuditLine.number == number).values(number=number - 1))


def _swap(connection: Connection) -> None:
    for old, new in ((4, 99), (5, 4), (99, 5)):
        connection.execute(update(AuditLine).where(AuditLine.number == old).values(number=new))


def _insert(connection: Connection) -> None:
    line = connection.execute(select(AuditLine.__table__).where(AuditLine.number == 2)).one()._asdict()
    for number in range(LINES, 3, -1):
        connection.execute(update(AuditLine).where(AuditLine.number == number).values(number=number + 1))
    connection.execute(insert(AuditLine).values({**line, "number": 4, "hash": "0" * 64}))


@pytest.mark.parametrize("tamper", [_change, _remove, _remove_and_close_up, _swap, _insert])
def test_the_first_line_that_does_not_fit_is_found(filled: Ledger, tamper: Callable[[Connection], None]) -> None:
    with filled.write() as connection:
        _unguarded(connection)
        tamper(connection)
    with filled.read() as connection:
        found = audit.verify(connection)
    assert (found.is_whole, found.broken, found.lines) == (False, 4, 3)


def test_an_end_that_was_cut_off_is_found_by_a_head_that_was_noted_down(filled: Ledger) -> None:
    with filled.read() as connection:
        noted = audit.head(connection)
    with filled.write() as connection:
        _unguarded(connection)
        connection.execute(delete(AuditLine).where(AuditLine.number > LINES - 2))
    with filled.read() as connection:
        assert audit.verify(connection).is_whole  # by itself it can't know
        cut = audit.verify(connection, expect=noted)
        assert (cut.is_whole, cut.broken) == (False, LINES - 1)
        assert audit.verify(connection, expect=audit.head(connection)).is_whole
        assert audit.verify(connection, expect=Head(0, audit.START)).is_whole


def test_a_rewritten_history_is_found_by_a_head_that_was_noted_down(filled: Ledger) -> None:
    with filled.read() as connection:
        noted = audit.head(connection)
    with filled.write() as connection:
        _unguarded(connection)
        connection.execute(delete(AuditLine).where(AuditLine.number > 3))
        for number in range(3, LINES):
            _append(connection, number + 100)
    with filled.read() as connection:
        assert audit.verify(connection).is_whole
        assert not audit.verify(connection, expect=noted).is_whole


@pytest.mark.parametrize("change", ["UPDATE audit SET actor = 'x'", "DELETE FROM audit"])
def test_rows_can_only_be_added(filled: Ledger, change: str) -> None:
    with pytest.raises(DBAPIError, match="rows are only added here"), filled.write() as connection:
        connection.execute(text(change))
    with filled.read() as connection:
        assert audit.verify(connection).lines == LINES


def test_a_head_is_read_as_it_is_printed(filled: Ledger) -> None:
    with filled.read() as connection:
        head = audit.head(connection)
    assert Head.of(f" {head}\n") == head
    for wrong in ("", "5", "5:abc", f"x:{head.hash}"):
        with pytest.raises(UsageError, match="no head of an audit log"):
            Head.of(wrong)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    line=st.fixed_dictionaries(
        {"actor": st.text(max_size=20), "action": st.text(max_size=20), "subject": st.text(max_size=20)}
    ),
    body=st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers(-9, 9) | st.none(), max_size=4),
)
def test_whatever_is_told_is_verified(ledger: Ledger, line: dict[str, Any], body: dict[str, object]) -> None:
    if any("\0" in text for text in line.values()):
        return  # PostgreSQL keeps none
    with ledger.write() as connection:
        audit.append(connection, body=body, **line)
        assert audit.verify(connection).is_whole


_WRITER = """
import sys
from bintally.database import audit
from bintally.inventory.ledger import Ledger

with Ledger.open(sys.argv[1]) as ledger:
    for number in range(40):
        with ledger.write() as connection:
            audit.append(connection, actor=sys.argv[2], action="add", subject="x", body={"n": number})
"""


def test_processes_that_append_at_once_leave_no_gap(ledger: Ledger, place: str) -> None:
    command = [sys.executable, "-c", _WRITER, place]
    writers = [subprocess.Popen([*command, name]) for name in "ab"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    with ledger.read() as connection:
        assert audit.verify(connection).lines == 80
        assert audit.verify(connection).is_whole
        for name in "ab":
            told = [line.body["n"] for line in audit.entries(connection) if line.actor == name]
            assert told == list(range(40))
