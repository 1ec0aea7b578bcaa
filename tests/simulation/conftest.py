"""A tiny model that compares photos, and small sites."""

from pathlib import Path

import pytest

from bintally.bundle import read_card
from bintally.inventory.judging.how import How
from bintally.simulation.settings import SimulationSettings
from bintally.simulation.site import how_of
from tests.bundles import make_bundle
from tests.inventory.judging.yard import accept


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With an acceptance file."""
    folder = make_bundle(tmp_path_factory.mktemp("simulation") / "bundle", change=True, sharpness=4.0)
    card = read_card(folder / "card.json")
    accept(folder, card.name, card.model_sha256)
    return folder


@pytest.fixture(scope="session")
def small() -> SimulationSettings:
    """Three weeks of twelve bins, with errors often enough to meet some."""
    return SimulationSettings.of(
        {
            "days": 21,
            "bins": 12,
            "seeds": 2,
            "stock": {"picks_per_day": 0.3},
            "errors": {"pick_quantity": 0.05, "stow_quantity": 0.05, "pick_bin": 0.02, "loss_per_item_day": 0.003},
            "people": {"counts_per_100_bins": 20.0},
            "robots": {"rounds_per_100_bins": 20.0},
        }
    )


@pytest.fixture(scope="session")
def how(bundle: Path, small: SimulationSettings) -> How:
    """How such sites are judged."""
    return how_of(small, bundle)
