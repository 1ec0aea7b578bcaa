"""A stock system in a SQLite file: small, but it keeps stock and drafts for real, and outlives whoever is killed.

It answers as its `faults` say: each is taken once, in turn, by the call it names.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bintally.errors import ErpUnavailableError
from bintally.inventory.erp.protocol import About, Answer, Draft, Line, Posting, Stock

_TABLES = """
CREATE TABLE IF NOT EXISTS stock (bin TEXT, product TEXT, quantity INTEGER, PRIMARY KEY (bin, product));
CREATE TABLE IF NOT EXISTS draft (id INTEGER PRIMARY KEY, key TEXT, bin TEXT, lines TEXT, state TEXT);
CREATE TABLE IF NOT EXISTS move (id INTEGER PRIMARY KEY, draft INTEGER, bin TEXT, product TEXT, change INTEGER);
"""


class Notebook:
    """`faults`: such as [("commit", "before"), ("commit", "after")]: fails without, or after having done it."""

    def __init__(self, path: Path, faults: Sequence[tuple[str, str]] = ()) -> None:
        self.path, self.faults = path, list(faults)
        with self._db() as db:
            db.executescript(_TABLES)

    def about(self) -> About:
        with self._faulty("about"):
            return About("Notebook")

    def read(self, bins: Sequence[str] | None = None) -> Iterator[Stock]:
        with self._faulty("read"), self._db() as db:
            rows = db.execute("SELECT bin, product, quantity FROM stock ORDER BY bin, product").fetchall()
        known: dict[str, dict[str, int]] = {}
        for code, product, quantity in rows:
            if bins is None or code in bins:
                known.setdefault(code, {})[product] = quantity
        for code, lines in known.items():
            yield Stock(bin=code, lines=lines, as_of=datetime.now(UTC))

    def find(self, keys: Sequence[str]) -> dict[str, Draft]:
        with self._faulty("find"), self._db() as db:
            found = {}
            for key in keys:
                rows = db.execute(
                    "SELECT id, state FROM draft WHERE key = ? AND state != 'cancelled' ORDER BY state = 'done', id",
                    (key,),
                ).fetchall()
                for number, state in rows:
                    found[key] = Draft(key, str(number), state, {"state": state})
            return found

    def prepare(self, postings: Sequence[Posting]) -> dict[str, Draft]:
        with self._faulty("prepare"), self._db() as db:
            made = {}
            for posting in postings:
                lines = json.dumps(msgspec.to_builtins(posting.lines))
                row = (posting.key, posting.bin, lines, "draft")
                cursor = db.execute("INSERT INTO draft (key, bin, lines, state) VALUES (?, ?, ?, ?)", row)
                made[posting.key] = Draft(posting.key, str(cursor.lastrowid))
            return made

    def commit(self, drafts: Sequence[Draft]) -> dict[str, Answer]:
        with self._faulty("commit"), self._db() as db:
            return {draft.key: self._carried_out(db, draft) for draft in drafts}

    def cancel(self, drafts: Sequence[Draft]) -> None:
        with self._faulty("cancel"), self._db() as db:
            for draft in drafts:
                db.execute("UPDATE draft SET state = 'cancelled' WHERE id = ? AND state = 'draft'", (draft.reference,))

    def close(self) -> None:
        pass

    def put(self, code: str, **products: int) -> None:
        """Somebody changes stock there."""
        with self._db() as db:
            rows = [(code, product, quantity) for product, quantity in products.items()]
            db.executemany("INSERT OR REPLACE INTO stock VALUES (?, ?, ?)", rows)

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

    @contextmanager
    def _faulty(self, call: str) -> Iterator[None]:
        fault = None
        if self.faults and self.faults[0][0] == call:
            fault = self.faults.pop(0)[1]
        if fault == "before":
            raise ErpUnavailableError("The notebook is closed.")
        yield
        if fault == "after":
            raise ErpUnavailableError("The notebook did not answer.")

    @contextmanager
    def _db(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=30)) as db, db:
            yield db
