"""A yard on each database, and one that is only computed with."""

from pathlib import Path

import pytest

from bintally.bundle import read_card
from bintally.inventory.judging.how import How
from bintally.inventory.ledger import Ledger
from tests.bundles import make_bundle
from tests.inventory.judging.yard import Yard, accept


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that compares photos, with an acceptance file."""
    folder = make_bundle(tmp_path_factory.mktemp("judging") / "bundle", change=True, sharpness=4.0)
    card = read_card(folder / "card.json")
    accept(folder, card.name, card.model_sha256)
    return folder


@pytest.fixture(scope="session")
def how(bundle: Path) -> How:
    """The default policy and settings with that model."""
    return How.open(bundle)


@pytest.fixture
def yard(ledger: Ledger, how: How, tmp_path: Path) -> Yard:
    """A site on each database."""
    return Yard.new(ledger, how, tmp_path / "photos")
