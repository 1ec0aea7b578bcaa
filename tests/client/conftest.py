from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bundles import make_bundle
from tests.serving.conftest import running


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose network reads the count off the brightness (see tests/bundles.py)."""
    return make_bundle(tmp_path_factory.mktemp("client") / "tiny")


@pytest.fixture(scope="module")
def url(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service, in a process of its own."""
    with running(bundle, "--state", tmp_path_factory.mktemp("state")) as (url, _):
        yield url
