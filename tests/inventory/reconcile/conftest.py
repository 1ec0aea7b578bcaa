"""A model that promises something, and files of counts and records."""

from pathlib import Path

import pytest

from bintally.bundle import CARD, read_card
from bintally.inventory.policy.acceptance import FILE
from tests.bundles import make_bundle
from tests.inventory.policy.cases import acceptance


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle that reads the count off the brightness, with an acceptance file."""
    folder = make_bundle(tmp_path_factory.mktemp("bundle") / "tiny", change=True)
    told = acceptance(model_sha256=read_card(folder / CARD).model_sha256)
    told.write(folder / FILE)
    return folder
