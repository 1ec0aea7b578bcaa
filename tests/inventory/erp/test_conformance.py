"""The tests that every connector must pass are passed by right ones, and failed by wrong ones."""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from bintally.inventory.erp.conformance import Bench, ConnectorConformance
from bintally.inventory.erp.protocol import Answer, Draft, Line, Posting, Stock
from tests.conftest import ROOT
from tests.inventory.erp.notebook import Notebook

BOLT = Bench.products[0]


class NotebookBench(Bench):
    refused_product = None

    def __init__(self, path: Path, kind: type[Notebook] = Notebook) -> None:
        self._path, self._kind, self._bins = path, kind, 0

    def connect(self) -> Notebook:
        return self._kind(self._path)

    def new_bin(self) -> str:
        self._bins += 1
        return f"C-{self._bins}"

    def put(self, code: str, product: str, quantity: int) -> None:
        Notebook(self._path).put(code, **{product: quantity})

    def held(self, code: str) -> dict[str, int]:
        return Notebook(self._path).held(code)


class TestNotebook(ConnectorConformance):
    @pytest.fixture
    def erp(self, tmp_path: Path) -> Bench:
        return NotebookBench(tmp_path / "erp.sqlite")


class Hasty(Notebook):
    """Carries out what it should only prepare."""

    def prepare(self, postings: Sequence[Posting]) -> dict[str, Draft]:
        drafts = super().prepare(postings)
        self.commit(list(drafts.values()))
        return drafts


class Eager(Notebook):
    """Carries out whatever it is given, again if need be."""

    def commit(self, drafts: Sequence[Draft]) -> dict[str, Answer]:
        with self._db() as db:
            for draft in drafts:
                db.execute("UPDATE draft SET state = 'draft' WHERE id = ?", (draft.reference,))
        return super().commit(drafts)


class Blind(Notebook):
    """Writes what was counted over whatever is there."""

    def commit(self, drafts: Sequence[Draft]) -> dict[str, Answer]:
        with self._db() as db:
            for draft in drafts:
                code, text = db.execute("SELECT bin, lines FROM draft WHERE id = ?", (draft.reference,)).fetchone()
                for line in msgspec.json.decode(text, type=list[Line]):
                    db.execute("INSERT OR REPLACE INTO stock VALUES (?, ?, ?)", (code, line.product, line.before))
        return super().commit(drafts)


class Forgetful(Notebook):
    """Knows only what it has sent itself."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._sent: set[str] = set()

    def prepare(self, postings: Sequence[Posting]) -> dict[str, Draft]:
        self._sent |= {posting.key for posting in postings}
        return super().prepare(postings)

    def find(self, keys: Sequence[str]) -> dict[str, Draft]:
        return super().find([key for key in keys if key in self._sent])


class Stubborn(Notebook):
    """Throws nothing away."""

    def cancel(self, drafts: Sequence[Draft]) -> None:
        pass


class Chatty(Notebook):
    """Tells of bins that nobody asked for, twice."""

    def read(self, bins: Sequence[str] | None = None) -> Iterator[Stock]:
        yield from super().read(None)
        yield from super().read(bins)


Suite = ConnectorConformance


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (Hasty, Suite.test_a_draft_changes_no_stock),
        (Eager, Suite.test_a_draft_is_carried_out_once),
        (Eager, Suite.test_what_was_thrown_away_can_not_be_carried_out),
        (Blind, Suite.test_a_draft_of_stock_that_has_moved_is_stale),
        (Blind, Suite.test_of_several_drafts_of_a_key_one_counts),
        (Forgetful, Suite.test_postings_are_found_as_what_they_became),
        (Stubborn, Suite.test_what_was_thrown_away_can_not_be_carried_out),
        (Chatty, Suite.test_it_reads_what_is_in_bins),
    ],
)
def test_a_wrong_connector_fails(tmp_path: Path, kind: type[Notebook], check: object) -> None:
    assert callable(check)
    bench = NotebookBench(tmp_path / "erp.sqlite", kind)
    with pytest.raises(AssertionError):
        check(Suite(), bench, bench.connect())


def test_the_connector_of_the_guide_passes(tmp_path: Path) -> None:
    section = (ROOT / "docs" / "erp.md").read_text().split("## Write your own connector")[1].split("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (tmp_path / "test_acme.py").write_text("\n\n".join(blocks))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", "test_acme.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "26 passed" in done.stdout
