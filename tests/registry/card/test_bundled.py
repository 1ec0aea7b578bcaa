"""The cards of the models that come along are the ones their bundles make today."""

import pytest

from bintally.bundle import Bundle
from bintally.registry.card.gather import of_bundle
from bintally.registry.card.judged import read_evaluation
from bintally.registry.card.written import written
from bintally.settings import BUNDLED
from tests.conftest import ROOT

CARDS = ROOT / "docs" / "models"


@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_the_cards_in_the_documents_are_up_to_date(name: str) -> None:
    bundle, told = Bundle.open(BUNDLED[name]), CARDS / f"{name}.json"
    card = of_bundle(bundle, evaluation=read_evaluation(told, bundle.card))
    for suffix in (".json", ".md"):
        again = (
            f"bintally models card {name} --bundle --report docs/models/{name}.json --out docs/models/{name}{suffix}"
        )
        assert told.with_suffix(suffix).read_bytes() == written(card, suffix), f"run `{again}`"
