"""A correction that has everything, in a SQLite ledger and in both; and its bundle."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bintally.inventory.ledger import Ledger
from tests.databases import new_ledger
from tests.inventory.erp.notebook import Notebook
from tests.inventory.evidence.corrections import Fixed, connected, corrected, made, still, told

__all__ = ["still"]


class Site:
    """A ledger with a correction, and its stock system."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger, self.folder = ledger, folder
        self.erp = Notebook(folder / "erp.sqlite")
        self.erp.put("A-1", **{"B00-DRILL": 3, "B00-BITS": 1})
        with ledger.write() as connection:
            self.world: Fixed = made(connection, folder / "photos")
            connected(self.world)
            self.decision = corrected(self.world)

    def tell(self) -> None:
        """The stock system hears of it."""
        assert told(self.ledger, self.erp).posted == 1


@pytest.fixture
def site(ledger: Ledger, tmp_path: Path) -> Site:
    """Once on each database."""
    return Site(ledger, tmp_path)


@pytest.fixture
def file_site(tmp_path: Path) -> Iterator[Site]:
    """In a SQLite file."""
    with new_ledger(tmp_path / "ledger.sqlite") as ledger:
        yield Site(ledger, tmp_path)
