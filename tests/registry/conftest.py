"""Registries on both databases, and tiny bundles to register."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bintally.registry.place import DATABASE, SETTINGS, Registry
from tests.bundles import make_bundle
from tests.databases import new_registry, with_tables
from tests.inventory.conftest import DATABASES, bare_place, new_place

__all__ = ["bare_place", "new_place"]

MakeBundle = Callable[[str], Path]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> MakeBundle:
    """Tiny bundles by a letter: each has a network of its own."""
    folder = tmp_path_factory.mktemp("bundles")

    def made(name: str) -> Path:
        place = folder / name
        return place if place.is_dir() else make_bundle(place, sharpness=1.0 + ord(name) / 100, name=f"tiny-{name}")

    return made


@pytest.fixture(params=DATABASES)
def place(request: pytest.FixtureRequest, new_place: Callable[[str], str], tmp_path: Path) -> Path:
    """A folder where a registry can be made, once on each database."""
    folder = tmp_path / "registry"
    if request.param == "sqlite":
        return with_tables(folder / DATABASE).parent
    return empty_place(folder, request.param, new_place)


@pytest.fixture
def registry(place: Path) -> Iterator[Registry]:
    """An empty registry, once on each database."""
    with Registry.open(place, create=True) as made:
        yield made


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Registry]:
    """An empty registry on SQLite, where the database does not matter."""
    with new_registry(tmp_path / "local") as made:
        yield made


def empty_place(folder: Path, kind: str, bare_place: Callable[[str], str]) -> Path:
    """A folder whose registry will be on a database of that kind."""
    folder.mkdir(parents=True)
    if kind != "sqlite":
        (folder / SETTINGS).write_text(f'database = "{bare_place(kind)}"\n')
    return folder
