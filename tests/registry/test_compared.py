"""Two versions on the same photos: real models, photos and registries."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from bintally.errors import DataError, UsageError
from bintally.manifest import SPLIT, Manifest
from bintally.registry import gates
from bintally.registry.approval import forget, retire
from bintally.registry.compared import Compared, compare_versions
from bintally.registry.gates import PromoteSettings
from bintally.registry.place import Registry
from bintally.registry.retention.collect import gc
from bintally.registry.versions import version_of
from tests.databases import new_registry
from tests.registry.gates.shelves import BLIND, GOOD, SURE, resplit, shelf, version


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shelf(tmp_path_factory.mktemp("shelf") / "data", photos=900)


@pytest.fixture
def registry(tmp_path: Path, data: Path) -> Iterator[Registry]:
    """1 is too sure, 2 is good, 3 never looks."""
    with new_registry(tmp_path / "registry") as made:
        for name, sharpness in (("a", SURE), ("b", GOOD), ("c", BLIND)):
            version(made, tmp_path / name, sharpness, learnt=data)
        yield made


def _compared(registry: Registry, data: Path | None, this: str = "2", other: str = "1", **how: object) -> Compared:
    return compare_versions(registry, this, other, data=data, **how)  # type: ignore[arg-type]


def test_figures_differences_and_slices_are_of_the_same_photos(registry: Registry, data: Path) -> None:
    found = _compared(registry, data)
    test = Manifest.read(data, SPLIT).usable("test")
    [pair] = found.comparison.pairs
    this, other = found.comparison.entrants
    assert (this.label, other.label) == ("bintally/2", "bintally/1")
    assert found.comparison.photos == test.height
    assert (found.left_out, found.unknown, found.comparison.page) == (0, (), "")
    assert pair.differences["log_loss"].high < 0
    assert found.swapped.p["log_loss"] < 0.001
    assert "bintally/2 has a log loss" in found.sentence
    assert "nats lower (p < 0.001)" in found.sentence
    assert found.blind["accuracy"].value < this.figures["accuracy"].value
    counts = [each for each in found.swapped.kinds if each.name.startswith("recorded count")]
    assert sum(each.photos for each in counts) == test.height
    assert {each.name.partition(" ")[0] for each in found.swapped.kinds} == {"recorded", "brightness"}
    right = sum(each.accuracy * each.photos for each in counts) / test.height
    assert right == pytest.approx(this.figures["accuracy"].value)


def test_the_other_way_round_differences_have_the_other_sign(registry: Registry, data: Path) -> None:
    [pair], [turned] = (_compared(registry, data, *names).comparison.pairs for names in (("2", "1"), ("1", "2")))
    for name, difference in pair.differences.items():
        assert turned.differences[name].value == pytest.approx(-difference.value)
    assert _compared(registry, data, "1", "2").swapped.p == _compared(registry, data).swapped.p
    assert "has a log loss" in (said := _compared(registry, data, "1", "2").sentence)
    assert "nats higher" in said


def test_models_that_never_differ_are_not_told_apart(registry: Registry, data: Path, tmp_path: Path) -> None:
    version(registry, tmp_path / "again", GOOD, learnt=data, name="again")
    found = _compared(registry, data, "4", "2")
    assert set(found.swapped.p.values()) == {1.0}
    assert all(each.p == 1.0 for each in found.swapped.kinds)
    assert found.sentence.startswith("No difference between bintally/4 and bintally/2 is to be seen on")


def test_it_says_what_the_gates_say(registry: Registry, data: Path) -> None:
    with registry.read() as connection:
        this, other = version_of(connection, "2"), version_of(connection, "1")
    asked = PromoteSettings.of({"gates": ["better"]})
    outcome = gates.run(registry, this, other, data, asked)
    found = _compared(registry, data)
    for name in ("accuracy", "log_loss"):
        theirs = outcome.figures["candidate"][name].value
        assert found.comparison.entrants[0].figures[name].value == pytest.approx(theirs)
    assert (outcome.judged.photos, outcome.judged.left_out) == (found.comparison.photos, found.left_out)


def test_where_no_photos_are_named_those_that_both_were_asked_about_do(
    registry: Registry, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="never asked about the same photos of test") as error:
        _compared(registry, None)
    assert "--data" in error.value.hint
    moved = Path(shutil.copytree(data, tmp_path / "moved"))
    named = _compared(registry, moved)
    shutil.rmtree(moved)
    kept = _compared(registry, None)
    assert kept.comparison == named.comparison
    assert (named.data, kept.data) == (str(moved), None)
    with pytest.raises(DataError, match="photos of val"):
        _compared(registry, None, split="val")


def test_photos_that_either_learnt_from_are_left_out(registry: Registry, data: Path, tmp_path: Path) -> None:
    test = Manifest.read(data, SPLIT).usable("test")
    half = dict.fromkeys(sorted(set(test["group"].drop_nulls()))[::2], "train")
    version(registry, tmp_path / "d", GOOD, learnt=resplit(data, tmp_path / "earlier", half), name="earlier")
    version(registry, tmp_path / "e", GOOD, learnt=None, name="unknown")
    left = test.filter(~pl.col("group").is_in(list(half))).height
    for folder in (data, None):
        found = _compared(registry, folder, "4", "1")
        assert (found.comparison.photos, found.left_out) == (left, test.height - left)
    [unknown] = _compared(registry, data, "5", "1").unknown
    assert unknown == "of bintally/5 it is not known what the model was trained on"
    with pytest.raises(DataError, match="0 photos of bins that neither learnt from are too few"):
        _compared(registry, data, split="val")


def test_a_page_is_written_where_one_is_asked_for(registry: Registry, data: Path, tmp_path: Path) -> None:
    found = _compared(registry, data, out=tmp_path / "out", counts="1-3")
    assert found.comparison.keys == ("1", "2", "3")
    page = (tmp_path / "out" / "compare.html").read_text()
    assert "bintally/2" in page
    assert (tmp_path / "out" / "compare.json").is_file()
    assert found.comparison.page == str(tmp_path / "out" / "compare.html")


def test_one_version_and_one_whose_bundle_is_gone_are_refused(registry: Registry, data: Path) -> None:
    with pytest.raises(UsageError, match="compared with itself"):
        _compared(registry, data, "2", "bintally/2")
    _compared(registry, data, "2", "3")
    retire(registry, "3", by="rita", reason="never looks")
    forget(registry, "3", by="rita", reason="never looks")
    gc(registry, by="rita")
    with pytest.raises(DataError, match="never asked about the same photos"):
        _compared(registry, None, "2", "3")
