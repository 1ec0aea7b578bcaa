"""A registry writes a card for each version, and remembers what an evaluation found."""

from pathlib import Path

import msgspec
import pytest

from bintally.bundle import Bundle
from bintally.errors import UsageError
from bintally.registry.card.kept import KINDS, card_of, keep_card, place_of
from bintally.registry.card.told import ModelCard
from bintally.registry.place import SETTINGS, Registry
from bintally.registry.registration import register
from bintally.registry.versions import version_of
from tests.databases import new_registry
from tests.registry.card.cards import report_of
from tests.registry.conftest import MakeBundle


def test_a_version_has_its_card_as_soon_as_it_is_registered(local: Registry, bundle: MakeBundle) -> None:
    version = register(local, bundle("a"), by="rita").version
    place = place_of(local, version)
    assert "# bintally/1" in place.read_text()
    assert {path.suffix for path in place.parent.iterdir()} == set(KINDS)


def test_the_figures_of_a_report_stay_with_a_version(local: Registry, bundle: MakeBundle, tmp_path: Path) -> None:
    version = register(local, bundle("a"), by="rita").version
    (tmp_path / "metrics.json").write_bytes(report_of(version.card.model_sha256).to_json())
    keep_card(local, version, report=tmp_path)
    assert card_of(local, version).evaluation is not None
    register(local, bundle("a"), by="rita")
    kept = msgspec.json.decode(place_of(local, version).with_suffix(".json").read_bytes(), type=ModelCard)
    assert kept.evaluation is not None
    assert kept.evaluation.photos == 80


def test_a_report_can_come_with_the_registration(local: Registry, bundle: MakeBundle, tmp_path: Path) -> None:
    sha256 = Bundle.open(bundle("a")).card.model_sha256
    (tmp_path / "metrics.json").write_bytes(report_of(sha256).to_json())
    version = register(local, bundle("a"), by="rita", report=tmp_path).version
    assert "Slices" in place_of(local, version).read_text()
    assert card_of(local, version).evaluation is not None


def test_a_report_of_another_model_stops_the_registration_before_it_begins(
    local: Registry, bundle: MakeBundle, tmp_path: Path
) -> None:
    (tmp_path / "metrics.json").write_bytes(report_of("f" * 64).to_json())
    with pytest.raises(UsageError, match="of another model"):
        register(local, bundle("a"), by="rita", report=tmp_path)
    with local.read() as connection, pytest.raises(UsageError):
        version_of(connection, "bintally/1")


def test_what_a_lost_or_torn_card_remembered_is_measured_again_not_guessed(local: Registry, bundle: MakeBundle) -> None:
    version = register(local, bundle("a"), by="rita").version
    place_of(local, version).with_suffix(".json").write_text('{"torn')
    assert card_of(local, version).evaluation is None


def test_what_only_people_know_is_said_in_the_registrys_settings(tmp_path: Path, bundle: MakeBundle) -> None:
    folder = tmp_path / "registry"
    folder.mkdir()
    (folder / SETTINGS).write_text('[card]\ncontact = "vision@example.com"\npower_w = 90\n')
    with new_registry(folder) as registry:
        version = register(registry, bundle("a"), by="rita").version
        assert card_of(registry, version).contact == "vision@example.com"
        assert card_of(registry, version).energy.power_w == 90
