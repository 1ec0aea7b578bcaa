"""A stock system in a SQLite file: small, but it keeps stock and drafts for real, and outlives whoever is killed.

It answers as its `faults` say: each is taken once, in turn, by the call it names. Words for what goes wrong: "before",
"after": it fails without, or after having done it; "half": it does the first half of what it was asked for, and fails;
"late": the request is still on its way when its sender gives up, and arrives when `deliver` is called; "refused": it
will not; "broken": a mistake in the connector; "lie": it says that it has done it, and has not; "strange": it answers
something else than it was asked.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bintally.config import Config
from bintally.errors import ErpRefusedError, ErpUnavailableError
from bintally.inventory.erp.kinds import ConnectorKind
from bintally.inventory.erp.protocol import About, Answer, Draft, Line, Posting, Stock

_TABLES = (
    "CREATE TABLE IF NOT EXISTS stock (bin TEXT, product TEXT, quantity INTEGER, PRIMARY KEY (bin, product))",
    "CREATE TABLE IF NOT EXISTS draft (id INTEGER PRIMARY KEY, key TEXT, bin TEXT, lines TEXT, state TEXT)",
    "CREATE TABLE IF NOT EXISTS move (id INTEGER PRIMARY KEY, draft INTEGER, bin TEXT, product TEXT, change INTEGER)",
    "CREATE TABLE IF NOT EXISTS booked (key TEXT PRIMARY KEY)",
)


_T = TypeVar("_T")


class Notebook:
    """`faults`: such as [("commit", "before"), ("commit", "after")]. `reads` False: it does not tell what it holds."""

    def __init__(self, path: Path, faults: Sequence[tuple[str, str]] = (), *, reads: bool = True) -> None:
        self.path, self.faults, self.reads = path, list(faults), reads
        self.calls: list[str] = []
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.late: list[Callable[[], object]] = []
        with self._db() as db:
            for table in _TABLES:
                db.execute(table)

    def about(self) -> About:
        return self._call("about", lambda: About("Notebook", reads=self.reads))

    def read(self, bins: Sequence[str] | None = None) -> Iterator[Stock]:
        return iter(self._call("read", lambda: list(self._read(bins))))

    def find(self, keys: Sequence[str]) -> dict[str, Draft]:
        return self._call("find", lambda: self._find(keys))

    def prepare(self, postings: Sequence[Posting]) -> dict[str, Draft]:
        half = self._prepare_one(postings[: len(postings) // 2])
        return self._call("prepare", self._prepare_one(postings), half=half, nothing={})

    def commit(self, drafts: Sequence[Draft]) -> dict[str, Answer]:
        half = self._commit_one(drafts[: len(drafts) // 2])
        return self._call("commit", self._commit_one(drafts), half=half, nothing={})

    def cancel(self, drafts: Sequence[Draft]) -> None:
        def cancel() -> None:
            with self._db() as db:
                for draft in drafts:
                    db.execute(
                        "UPDATE draft SET state = 'cancelled' WHERE id = ? AND state = 'draft'", (draft.reference,)
                    )

        self._call("cancel", cancel, nothing=None)

    def close(self) -> None:
        pass

    def deliver(self) -> None:
        """What was on its way arrives."""
        while self.late:
            self.late.pop(0)()

    def put(self, code: str, **products: int) -> None:
        """Somebody changes stock there."""
        with self._db() as db:
            rows = [(code, product, quantity) for product, quantity in products.items()]
            db.executemany("INSERT OR REPLACE INTO stock VALUES (?, ?, ?)", rows)

    def forget(self, code: str) -> None:
        """Nothing is told of a bin any more."""
        with self._db() as db:
            db.execute("DELETE FROM stock WHERE bin = ?", (code,))

    def book(self, key: str, code: str, product: str, change: int) -> None:
        """A pick or a stow there, booked once under its key."""
        with self._db() as db:
            if db.execute("INSERT OR IGNORE INTO booked VALUES (?)", (key,)).rowcount:
                where = "WHERE bin = ? AND product = ?"
                db.execute(f"UPDATE stock SET quantity = quantity + ? {where}", (change, code, product))

    def carried_out(self) -> list[tuple[str, str]]:
        """Drafts that were carried out, in order, as often as they were: (bin, key)."""
        with self._db() as db:
            query = "SELECT d.bin, d.key FROM move m JOIN draft d ON d.id = m.draft GROUP BY d.id ORDER BY min(m.id)"
            return db.execute(query).fetchall()

    def held(self, code: str) -> dict[str, int]:
        """What it says is in a bin."""
        return next((dict(stock.lines) for stock in self.read([code])), {})

    def moves(self) -> list[tuple[str, str, int]]:
        """All that was posted, in order: (bin, product, change)."""
        with self._db() as db:
            return db.execute("SELECT bin, product, change FROM move ORDER BY id").fetchall()

    def _carried_out(self, db: sqlite3.Connection, draft: Draft) -> Answer:
        code, text, state = db.execute(
            "SELECT bin, lines, state FROM draft WHERE id = ?", (draft.reference,)
        ).fetchone()
        lines = msgspec.convert(json.loads(text), tuple[Line, ...])
        held = dict(db.execute("SELECT product, quantity FROM stock WHERE bin = ?", (code,)).fetchall())
        if state == "cancelled":
            return Answer(draft.key, "refused", draft.reference, "it was thrown away")
        if state == "draft":
            if any(held.get(line.product, 0) != line.before for line in lines):
                return Answer(draft.key, "stale", draft.reference, "stock has moved")
            for line in lines:
                db.execute("INSERT OR REPLACE INTO stock VALUES (?, ?, ?)", (code, line.product, line.after))
                move = (draft.reference, code, line.product, line.change)
                db.execute("INSERT INTO move (draft, bin, product, change) VALUES (?, ?, ?, ?)", move)
            db.execute("UPDATE draft SET state = 'done' WHERE id = ?", (draft.reference,))
        return Answer(draft.key, "done", draft.reference, "", {"state": "done"})

    def _read(self, bins: Sequence[str] | None) -> Iterator[Stock]:
        with self._db() as db:
            rows = db.execute("SELECT bin, product, quantity FROM stock ORDER BY bin, product").fetchall()
        known: dict[str, dict[str, int]] = {}
        for code, product, quantity in rows:
            if bins is None or code in bins:
                known.setdefault(code, {})[product] = quantity
        for code, lines in known.items():
            yield Stock(bin=code, lines=lines, as_of=self.clock())

    def _find(self, keys: Sequence[str]) -> dict[str, Draft]:
        with self._db() as db:
            found = {}
            for key in keys:
                rows = db.execute(
                    "SELECT id, state FROM draft WHERE key = ? AND state != 'cancelled' ORDER BY state = 'done', id",
                    (key,),
                ).fetchall()
                for number, state in rows:
                    found[key] = Draft(key, str(number), state, {"state": state})
            return found

    def _prepare_one(self, postings: Sequence[Posting]) -> Callable[[], dict[str, Draft]]:
        def prepare() -> dict[str, Draft]:
            with self._db() as db:
                made = {}
                for posting in postings:
                    lines = json.dumps(msgspec.to_builtins(posting.lines))
                    row = (posting.key, posting.bin, lines, "draft")
                    cursor = db.execute("INSERT INTO draft (key, bin, lines, state) VALUES (?, ?, ?, ?)", row)
                    made[posting.key] = Draft(posting.key, str(cursor.lastrowid))
                return made

        return prepare

    def _commit_one(self, drafts: Sequence[Draft]) -> Callable[[], dict[str, Answer]]:
        def commit() -> dict[str, Answer]:
            with self._db() as db:
                return {draft.key: self._carried_out(db, draft) for draft in drafts}

        return commit

    def _call(
        self, name: str, do: Callable[[], _T], *, half: Callable[[], object] | None = None, nothing: Any = ()
    ) -> _T:
        self.calls.append(name)
        fault = self.faults.pop(0)[1] if self.faults and self.faults[0][0] == name else None
        if fault == "refused":
            raise ErpRefusedError("The notebook says no.")
        if fault == "broken":
            raise KeyError("page")
        if fault == "late":
            self.late.append(do)
        if fault == "half" and half is not None:
            half()
        if fault in ("before", "late", "half"):
            raise ErpUnavailableError("The notebook is closed.")
        if fault == "lie":
            told: _T = nothing
            return told
        done = do()
        if fault == "after":
            raise ErpUnavailableError("The notebook did not answer.")
        if fault == "strange" and isinstance(done, dict):
            strange: Any = {f"not {key}": value for key, value in done.items()}
            return strange  # type: ignore[no-any-return]
        return done

    @contextmanager
    def _db(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as db, db:
            db.execute("BEGIN IMMEDIATE")
            yield db


class NotebookSettings(Config):
    """Where it lies."""

    path: Path


def _open(settings: NotebookSettings, secret: str | None) -> Notebook:
    if secret == "wrong":
        raise ErpRefusedError("The notebook is locked.", hint="Bring the right key.")
    if not settings.path.parent.is_dir():
        raise ErpUnavailableError(f"The notebook is not in {settings.path.parent}.")
    return Notebook(settings.path)


KIND = ConnectorKind(NotebookSettings, _open)
