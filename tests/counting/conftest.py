"""A tiny real bundle for the counting tests; other wings import `tests.bundles` themselves."""

from pathlib import Path

import pytest

from bintally.counting.counter import Counter
from tests.bundles import make_bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose network reads the count off the brightness (see tests/bundles.py)."""
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="session")
def telling_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, and it compares photos and judges records."""
    return make_bundle(tmp_path_factory.mktemp("bundle") / "telling", change=True, verification=True)


@pytest.fixture(scope="session")
def counter(tiny_bundle: Path) -> Counter:
    """It, at one thread."""
    return Counter(tiny_bundle, threads=1)
