"""A ledger in a file, a world in it, and a stock system: most of what is tested here is the same on both databases."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bintally.inventory.ledger import Ledger
from tests.inventory.erp.notebook import Notebook


@pytest.fixture
def file_ledger(new_place: Callable[[str], str]) -> Iterator[Ledger]:
    """An empty ledger in a SQLite file."""
    with Ledger.open(new_place("sqlite"), create=True) as made:
        yield made


@pytest.fixture
def erp(tmp_path: Path) -> Notebook:
    """An empty notebook."""
    return Notebook(tmp_path / "erp.sqlite")
