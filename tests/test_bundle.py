"""A bundle is whole and its parts agree, or it is an error that says what to do."""

import gzip
import json
from pathlib import Path

import pytest

from bintally.bundle import (
    BESIDE,
    CARD,
    CHANGE,
    COMPRESSED,
    MODEL,
    SCHEMA_VERSION,
    Bundle,
    card_json,
    find_bundle,
    read_card,
)
from bintally.errors import BundleError
from bintally.settings import BUNDLED
from tests.bundles import make_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle")


def test_a_whole_bundle_opens(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    assert opened.card.name == "tiny"
    assert opened.model_path == bundle / MODEL
    assert opened.card.metrics["test"].figures["accuracy"].low == 0.85


def test_a_card_is_read_as_it_was_written(bundle: Path) -> None:
    card = read_card(bundle / CARD)
    assert card_json(card) == (bundle / CARD).read_bytes()
    assert card_json(card).count(b"\n") > 20  # for people too


@pytest.mark.parametrize("part", [CARD, MODEL])
def test_a_missing_part_is_named(bundle: Path, part: str) -> None:
    (bundle / part).unlink()
    with pytest.raises(BundleError, match=f"has no {part}") as caught:
        Bundle.open(bundle)
    assert "bintally export" in caught.value.hint


def test_a_folder_that_is_not_there_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is no bundle"):
        Bundle.open(tmp_path / "nowhere")


def test_a_truncated_model_is_found_out(bundle: Path) -> None:
    model = bundle / MODEL
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(BundleError, match="truncated"):
        Bundle.open(bundle)


def test_a_flipped_bit_is_found_out(bundle: Path) -> None:
    data = bytearray((bundle / MODEL).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / MODEL).write_bytes(data)
    with pytest.raises(BundleError, match="not the model"):
        Bundle.open(bundle).graph(MODEL)


@pytest.fixture
def comparing(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "comparing", change=True, verification=True)


def test_a_bundle_that_compares_and_judges_opens(comparing: Path) -> None:
    opened = Bundle.open(comparing)
    assert opened.path_of(CHANGE) == comparing / CHANGE
    assert all(opened.graph(name) for name in (MODEL, BESIDE, CHANGE))
    assert opened.card.change is not None
    assert opened.card.verification is not None
    assert card_json(opened.card) == (comparing / CARD).read_bytes()


def test_a_missing_comparison_is_named(comparing: Path) -> None:
    (comparing / CHANGE).unlink()
    with pytest.raises(BundleError, match=f"lacks {CHANGE}") as caught:
        Bundle.open(comparing)
    assert "bintally export" in caught.value.hint


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_comparison_is_found_out(comparing: Path, damage: str) -> None:
    data = bytearray((comparing / CHANGE).read_bytes())
    data[len(data) // 2] ^= damage == "flipped"
    (comparing / CHANGE).write_bytes(data[: -1 if damage == "truncated" else None])
    with pytest.raises(BundleError, match=f"{CHANGE} is truncated or not the model"):
        Bundle.open(comparing).graph(CHANGE)


def test_compressed_graphs_are_read_and_their_damage_is_found_out(comparing: Path) -> None:
    plain = Bundle.open(comparing)
    wanted = {name: plain.graph(name) for name in (MODEL, BESIDE, CHANGE)}
    for name, graph in wanted.items():
        (comparing / name).unlink()
        (comparing / f"{name}{COMPRESSED}").write_bytes(gzip.compress(graph))
    compressed = Bundle.open(comparing)
    assert {name: compressed.graph(name) for name in wanted} == wanted
    path = comparing / f"{MODEL}{COMPRESSED}"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(BundleError, match="is truncated"):
        Bundle.open(comparing)
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(BundleError, match=r"can't be read|not the model"):
        Bundle.open(comparing).graph(MODEL)
    path.write_bytes(b"")
    with pytest.raises(BundleError, match="is truncated"):
        Bundle.open(comparing)


def test_a_comparison_that_no_card_speaks_of_is_left_alone(bundle: Path) -> None:
    (bundle / CHANGE).write_bytes(b"of another bundle")
    assert Bundle.open(bundle).card.change is None


def test_a_bundle_of_version_1_is_still_read(tmp_path: Path) -> None:
    """Version 1 knew nothing of earlier photos and records: its card has no such fields."""
    bundle = make_bundle(tmp_path / "old", schema_version=1)
    card = json.loads((bundle / CARD).read_text())
    of_version_2 = ("beside", "change", "verification")
    (bundle / CARD).write_text(json.dumps({name: value for name, value in card.items() if name not in of_version_2}))
    opened = Bundle.open(bundle)
    assert opened.card.schema_version == 1 < SCHEMA_VERSION
    assert (opened.card.change, opened.card.verification) == (None, None)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema_version": 99}, "schema version 99"),
        ({"unknown": 1}, "unknown"),
        ({"height_px": "tall"}, "height_px"),
        ({"count_values": {"0": "none"}}, "count_values"),
    ],
)
def test_a_card_edited_against_its_schema_is_told(bundle: Path, change: dict[str, object], told: str) -> None:
    card = json.loads((bundle / CARD).read_text())
    (bundle / CARD).write_text(json.dumps(card | change))
    with pytest.raises(BundleError, match=told):
        Bundle.open(bundle)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema_version": 1}'])
def test_what_is_no_card_is_told(bundle: Path, text: str) -> None:
    (bundle / CARD).write_text(text)
    with pytest.raises(BundleError, match="no readable card"):
        Bundle.open(bundle)


def test_an_unreadable_card_is_told(bundle: Path) -> None:
    with pytest.raises(BundleError, match="no readable card"):
        read_card(bundle)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """An installation with both models; tests run in an empty folder, without $BINTALLY_BUNDLE."""
    places = {name: make_bundle(tmp_path / "installed" / name) for name in ("champion", "fast")}
    for name, place in places.items():
        monkeypatch.setitem(BUNDLED, name, place)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("BINTALLY_BUNDLE", raising=False)
    return places


@pytest.mark.parametrize("called", ["fast", Path("fast"), "champion"])
def test_a_bundled_model_is_called_by_its_name(shipped: dict[str, Path], called: Path | str) -> None:
    assert find_bundle(called) == shipped[str(called)]


def test_the_environment_may_name_a_bundled_model(shipped: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINTALLY_BUNDLE", "fast")
    assert find_bundle() == shipped["fast"]


def test_a_folder_wins_over_a_name_if_it_is_there(shipped: dict[str, Path]) -> None:
    make_bundle(Path("fast"))
    assert find_bundle("fast") == Path("fast")


def test_an_unknown_name_gets_the_nearest(shipped: dict[str, Path]) -> None:
    with pytest.raises(BundleError, match="fats is no bundle") as caught:
        find_bundle("fats")
    assert "'fast'" in caught.value.hint


def test_a_model_that_does_not_ship_is_told(shipped: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUNDLED, "fast", shipped["fast"] / "absent")
    with pytest.raises(BundleError, match="no bundled model 'fast'") as caught:
        find_bundle("fast")
    assert "bintally export" in caught.value.hint
    with pytest.raises(BundleError) as caught:
        find_bundle("fats")
    assert "fast" not in caught.value.hint  # only what is there is proposed
