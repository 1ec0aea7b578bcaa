"""What a card is made of, and what it says of what nobody knows."""

from pathlib import Path

import msgspec
import pytest

from bintally import signatures
from bintally.bundle import Bundle
from bintally.errors import UsageError
from bintally.registry.card.energy import estimate
from bintally.registry.card.gather import of_bundle, of_version
from bintally.registry.card.judged import read_evaluation
from bintally.registry.card.settings import CardSettings
from bintally.registry.card.told import Energy
from bintally.registry.card.words import energy, lead, whose
from bintally.signatures.digest import digest_of
from bintally.signatures.keys import read_public
from tests.bundles import make_bundle
from tests.registry.card.cards import report_of, version_of
from tests.signatures.folders import make_key


def test_energy_is_time_times_power_and_carbon_is_that_times_intensity() -> None:
    told = estimate(7200, CardSettings(power_w=250, carbon_g_per_kwh=400))
    assert told == Energy(power_w=250, carbon_g_per_kwh=400, kwh=0.5, co2_g=200)


@pytest.mark.parametrize("seconds", [None, 60.0])
def test_without_an_assumption_nothing_is_estimated(seconds: float | None) -> None:
    assert estimate(seconds, CardSettings()) == Energy()
    assert estimate(None, CardSettings(power_w=250, carbon_g_per_kwh=400)).co2_g is None


def test_an_estimate_is_called_one_and_names_what_it_assumes(tmp_path: Path) -> None:
    version = version_of(tmp_path / "bundle")
    for settings, said in (
        (CardSettings(), "Training took 1 h 1 min. Energy: not known"),
        (CardSettings(power_w=150), "at an assumed 150 W that is about 0.15 kWh. Carbon: not known"),
        (CardSettings(power_w=150, carbon_g_per_kwh=300), "about 46 g. An estimate: nothing was measured"),
    ):
        assert said in energy(of_version(version, tmp_path, settings=settings))


def test_a_bundle_tells_of_itself(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle", change=True, verification=True)
    card = of_bundle(Bundle.open(folder))
    assert (card.name, card.registered, card.bundle_sha256) == ("tiny", None, digest_of(folder))
    assert card.bundle_bytes == sum(path.stat().st_size for path in folder.iterdir())
    assert len(card.tells) == 4
    assert card.data.photos == {"train": 300, "val": 100, "test": 100}
    assert card.data.source == "rendered"


def test_who_signed_is_told(tmp_path: Path) -> None:
    folder, (key, public) = make_bundle(tmp_path / "bundle"), make_key(tmp_path / "keys")
    signatures.sign(folder, key)
    assert of_bundle(Bundle.open(folder)).signers == (read_public(public).id,)


def test_the_figures_come_with_what_one_reaches_who_sees_no_photo(tmp_path: Path) -> None:
    version = version_of(tmp_path / "bundle")
    assert "always giving train's commonest count: 20.0%" in lead(of_version(version, tmp_path))


def test_an_evaluation_takes_the_place_of_the_cards_figures_of_its_split(tmp_path: Path) -> None:
    version = version_of(tmp_path / "bundle")
    (tmp_path / "metrics.json").write_bytes(report_of(version.card.model_sha256).to_json())
    card = of_version(version, tmp_path, evaluation=read_evaluation(tmp_path, version.card))
    [results] = card.results
    assert (results.split, results.photos) == ("test", 80)
    [accuracy] = [row for row in results.rows if row.name == "accuracy"]
    assert (accuracy.measured.value, accuracy.blind, accuracy.blind_in_hindsight) == (0.8, 0.25, 0.3)


def test_a_report_of_another_model_is_refused(tmp_path: Path) -> None:
    version = version_of(tmp_path / "bundle")
    (tmp_path / "metrics.json").write_bytes(report_of("f" * 64).to_json())
    with pytest.raises(UsageError, match="of another model"):
        read_evaluation(tmp_path, version.card)


@pytest.mark.parametrize("text", ["", "{}", '{"format": 1}', "\x00"])
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    version = version_of(tmp_path / "bundle")
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(UsageError, match="is no report"):
        read_evaluation(tmp_path / "metrics.json", version.card)


def test_an_earlier_card_is_as_good_as_the_report_it_was_made_from(tmp_path: Path) -> None:
    version = version_of(tmp_path / "bundle")
    (tmp_path / "metrics.json").write_bytes(report_of(version.card.model_sha256).to_json())
    evaluation = read_evaluation(tmp_path, version.card)
    (tmp_path / "card.json").write_bytes(of_version(version, tmp_path, evaluation=evaluation).to_json())
    assert read_evaluation(tmp_path / "card.json", version.card) == evaluation


def test_photos_of_another_table_are_not_said_to_be_unseen(tmp_path: Path) -> None:
    version = version_of(tmp_path / "bundle")
    report = report_of(version.card.model_sha256)
    other = msgspec.structs.replace(report, subject=msgspec.structs.replace(report.subject, table_sha256="9" * 64))
    (tmp_path / "metrics.json").write_bytes(other.to_json())
    assert not read_evaluation(tmp_path, version.card).is_same_split


def test_figures_of_a_split_that_leaks_are_called_too_good(tmp_path: Path) -> None:
    version = version_of(tmp_path / "bundle", lineage={"recipe": {"split": {"how": "random_that_leaks"}}})
    (tmp_path / "metrics.json").write_bytes(report_of(version.card.model_sha256).to_json())
    evaluation = read_evaluation(tmp_path, version.card)
    assert "too good" in whose(of_version(version, tmp_path, evaluation=evaluation), evaluation)
