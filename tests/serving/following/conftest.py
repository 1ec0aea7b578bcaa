from pathlib import Path

import pytest

from tests.serving.following.registries import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """A registry with nothing in it."""
    return Shelf(tmp_path)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A service's state folder."""
    return tmp_path / "state"
