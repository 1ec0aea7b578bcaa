"""The file of answers: one SQLite database that all processes of a service share.

A row is a key. It has an owner while a process answers its question, and an answer after that. What is written together
is committed, and synced, together (`GroupCommit`), in the one thread that knows the database.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from bintally.artifacts import one_at_a_time
from bintally.errors import StorageError
from bintally.monitoring.commits import GroupCommit
from bintally.monitoring.files import disk_errors, make_folder
from bintally.serving.idempotency.owner import Owner

FILE: Final = "answers.sqlite"
MAX_ANSWERS: Final = 500_000
"""About 1 kB each; the oldest go."""

_WAIT_S: Final = 5.0
_TIDY_S: Final = 300.0
_TIDY_AT_ONCE: Final = 1000
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS answers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    client TEXT NOT NULL,
    key TEXT NOT NULL,
    question BLOB NOT NULL,  -- SHA-256 of what was asked
    owner TEXT,              -- the process that answers it just now
    answer BLOB,
    at REAL NOT NULL,        -- Unix time
    UNIQUE (client, key)
);
CREATE INDEX IF NOT EXISTS answers_at ON answers (at);
"""


class Name(msgspec.Struct, frozen=True):
    """Whose key, and which."""

    client: str
    key: str


class Claim(msgspec.Struct, frozen=True):
    """Asks for the answer, or for the right to give it."""

    name: Name
    question: bytes


class Keep(msgspec.Struct, frozen=True):
    """Keeps the answer, where there is none; or in place of one that nobody can read any more."""

    name: Name
    question: bytes
    answer: bytes
    instead_of: bytes | None = None


class Release(msgspec.Struct, frozen=True):
    """Gives the right to answer back."""

    name: Name


Step: TypeAlias = Claim | Keep | Release
Said: TypeAlias = bytes | Literal["ours", "under_way", "another_question"] | None
"""Of a `Claim`: the answer; or that it is ours to give, given elsewhere just now, or that of another question."""


class AnswersFile:
    """Answers in `folder`, kept for `keep_s` seconds; a question is believed to be under way for at most `lease_s`.

    `clock` gives Unix time. A file that is damaged is moved aside, one that was removed is made again.
    """

    def __init__(self, folder: Path, *, keep_s: float, lease_s: float, clock: Callable[[], float] = time.time) -> None:
        self.path = folder / FILE
        self._keep_s, self._lease_s, self._clock = keep_s, lease_s, clock
        self._commits: GroupCommit[Step, Said] = GroupCommit(self._commit, name="answers")
        self._opened: _Opened | None = None
        self._tidied_at = 0.0

    def submit(self, step: Step) -> "Future[Said]":
        """Done when `step` is, and its answer durable.

        Raises (the future):
            StorageError: the file can't be used just now.
        """
        return self._commits.submit(step)

    def close(self) -> None:
        """Ends the thread, after what was submitted."""
        self._commits.close()
        self._leave()

    def _commit(self, steps: Sequence[Step]) -> list[Said]:
        try:
            with disk_errors(self.path):
                try:
                    return self._together(steps)
                except sqlite3.DatabaseError as error:
                    if not _is_damage(error):
                        raise
                    self._move_aside()
                    return self._together(steps)
        except sqlite3.Error as error:
            self._leave()  # opened anew for the next
            raise StorageError(
                f"{self.path} can't be used: {error}.", hint="Look at the disk and its folder."
            ) from error

    def _together(self, steps: Sequence[Step]) -> list[Said]:
        opened = self._current()
        self._tidy(opened.database)
        # Who claims loses nothing by a power cut; who was answered must find the answer after one.
        is_final = any(isinstance(step, Keep) for step in steps)
        opened.database.execute(f"PRAGMA synchronous = {'FULL' if is_final else 'NORMAL'}")
        with _transaction(opened.database):
            return [self._do(opened, step) for step in steps]

    def _do(self, opened: "_Opened", step: Step) -> Said:
        match step:
            case Claim(name, question):
                return self._claim(opened, name, question)
            case Keep(name, question, answer, instead_of):
                opened.database.execute(
                    "INSERT INTO answers (client, key, question, answer, at) VALUES (?, ?, ?, ?, ?) "
                    "ON CONFLICT DO UPDATE SET question = excluded.question, owner = NULL, answer = excluded.answer, "
                    "at = excluded.at WHERE answer IS NULL OR answer = ?",
                    (name.client, name.key, question, answer, self._clock(), instead_of),
                )
            case Release(name):
                opened.database.execute(
                    "DELETE FROM answers WHERE client = ? AND key = ? AND owner = ?",
                    (name.client, name.key, opened.owner.name),
                )
        return None

    def _claim(self, opened: "_Opened", name: Name, question: bytes) -> Said:
        now = self._clock()
        row = opened.database.execute(
            "SELECT question, owner, answer, at FROM answers WHERE client = ? AND key = ?", (name.client, name.key)
        ).fetchone()
        if row is not None:
            asked, owner, answer, at = row
            is_answered = answer is not None and abs(now - at) < self._keep_s
            is_under_way = answer is None and abs(now - at) < self._lease_s and opened.owner.is_alive(owner)
            if (is_answered or is_under_way) and asked != question:
                return "another_question"
            if is_answered:
                return bytes(answer)
            if is_under_way:
                return "under_way"
        opened.database.execute(
            "INSERT OR REPLACE INTO answers (client, key, question, owner, at) VALUES (?, ?, ?, ?, ?)",
            (name.client, name.key, question, opened.owner.name, now),
        )
        return "ours"

    def _tidy(self, database: sqlite3.Connection) -> None:
        """Removes some of what is too old, and the oldest of too many; now and then."""
        if time.monotonic() < self._tidied_at + _TIDY_S:
            return
        now = self._clock()
        with _transaction(database):
            gone = database.execute(
                "DELETE FROM answers WHERE id IN "
                "(SELECT id FROM answers WHERE at < ? OR at > ? OR id <= (SELECT max(id) FROM answers) - ? LIMIT ?)",
                (now - self._keep_s, now + self._keep_s, MAX_ANSWERS, _TIDY_AT_ONCE),
            ).rowcount
        if gone < _TIDY_AT_ONCE:  # else there is more, for the next
            self._tidied_at = time.monotonic()

    def _current(self) -> "_Opened":
        if self._opened is not None and not self._opened.is_at(self.path):
            self._leave()
        if self._opened is None:
            make_folder(self.path.parent)
            with one_at_a_time(self.path):
                self._opened = _Opened.open(self.path)
        return self._opened

    def _move_aside(self) -> None:
        """Moves a damaged file away, unless another process did."""
        self._leave()
        with one_at_a_time(self.path):
            if not _is_damaged(self.path):
                return
            aside = f".damaged-{int(self._clock())}"
            for suffix in ("-wal", "-shm", ""):
                with suppress(FileNotFoundError):
                    os.replace(f"{self.path}{suffix}", f"{self.path}{aside}{suffix}")  # noqa: PTH105 - suffixes

    def _leave(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None


class _Opened:
    """The open database, and this process among its users."""

    def __init__(self, database: sqlite3.Connection, owner: Owner, file: os.stat_result) -> None:
        self.database, self.owner, self._file = database, owner, file

    @classmethod
    def open(cls, path: Path) -> "_Opened":
        database = _connected(path)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(_TABLE)
            return cls(database, Owner.enter(path.parent), path.stat())
        except BaseException:
            database.close()
            raise

    def is_at(self, path: Path) -> bool:
        try:
            return os.path.samestat(path.stat(), self._file) and self.owner.is_there
        except (FileNotFoundError, NotADirectoryError):
            return False

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self.database.close()
        with suppress(OSError):
            self.owner.leave()


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        raise


def _is_damage(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def _is_damaged(path: Path) -> bool:
    database = _connected(path)
    try:
        return bool(database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",))
    except sqlite3.DatabaseError as error:
        return _is_damage(error)
    finally:
        database.close()
