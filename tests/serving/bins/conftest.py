"""A model that compares photos and promises something, a shop with a few bins, on both databases."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bintally.bundle import read_card
from bintally.counting.counter import Counter
from tests.bundles import make_bundle
from tests.inventory.conftest import new_place, place
from tests.inventory.judging.yard import accept
from tests.serving.bins.shop import Shop, stock

__all__ = ["new_place", "place"]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle that reads the count off the brightness, compares photos, and has an acceptance file."""
    folder = make_bundle(tmp_path_factory.mktemp("bins") / "bundle", change=True, sharpness=4.0)
    card = read_card(folder / "card.json")
    accept(folder, card.name, card.model_sha256)
    return folder


@pytest.fixture(scope="session")
def counter(bundle: Path) -> Counter:
    return Counter(bundle, threads=1)


@pytest.fixture
def shop(place: str, counter: Counter, tmp_path: Path) -> Iterator[Shop]:
    """A site with the bins A, B and C, on each database."""
    with Shop(stock(place), counter, tmp_path) as made:
        yield made


@pytest.fixture
def file_shop(new_place: Callable[[str], str], counter: Counter, tmp_path: Path) -> Iterator[Shop]:
    """The same, as a SQLite file."""
    with Shop(stock(new_place("sqlite")), counter, tmp_path) as made:
        yield made
