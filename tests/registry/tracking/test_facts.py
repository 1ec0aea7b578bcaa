"""What is told of a run: all of it, no password, nothing that MLflow would refuse."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from bintally.errors import CheckpointError, UsageError
from bintally.registry.tracking.facts import DIGEST, TAG, VALUE, RunTold, bundle_tag, flat, read_told
from bintally.registry.tracking.files import write_files
from bintally.signatures.digest import digest_of
from tests.registry.registration.runs import make_data, make_exported, make_run
from tests.registry.tracking.tracked import BEGAN, EPOCHS, STEPS_EACH, World


@pytest.fixture(scope="module")
def told(world: World) -> RunTold:
    return read_told(world.run, bundle=world.bundle, report=world.report, by="rita")


def test_recipe_data_code_and_environment_are_told(told: RunTold, world: World) -> None:
    assert (told.params["loop.epochs"], told.params["seed"], told.params["name"]) == ("4", "0", "tiny")
    assert told.tags["bintally.training_identity"] == "i" * 64
    assert told.tags["environment.processor"] == "a fast one"
    assert told.tags["bintally.findings"] == "Overfit, Leakage"
    assert told.tags[bundle_tag(digest_of(world.bundle))] == "exported"
    assert told.dataset is not None
    assert told.dataset.digest == told.tags["bintally.dataset_sha256"][:DIGEST]
    assert json.loads(told.dataset.profile) == {"train_photos": 2, "val_photos": 1}
    assert told.ended_ms == 1000 * (BEGAN + EPOCHS * STEPS_EACH)
    assert told.started_ms == told.ended_ms - 61_500, "an environment that does not say when it began"


def test_test_figures_have_their_interval_and_the_blind_answers_beside_them(told: RunTold) -> None:
    figures = {point.key: point.value for point in told.points}
    assert figures["test/accuracy"] == 0.8
    assert (figures["test/accuracy_low"], figures["test/accuracy_high"]) == (0.7, 0.9)
    assert (figures["test/accuracy_blind"], figures["test/accuracy_blind_in_hindsight"]) == (0.25, 0.3)
    assert "test: accuracy 0.800 (0.700 to 0.900), never looking 0.250" in told.tags["mlflow.note.content"]


def test_without_a_report_the_bundles_own_figures_are_told(world: World) -> None:
    told = read_told(world.run, bundle=world.bundle, report=None, by="rita")
    assert {point.key: point.value for point in told.points}["test/accuracy"] == 0.9


def test_nothing_is_too_long_or_oddly_named_for_mlflow(told: RunTold) -> None:
    assert max(len(value) for value in told.params.values()) == VALUE
    assert max(len(value) for value in told.tags.values()) <= TAG
    names = {*told.params, *told.tags, *(point.key for point in told.points)}
    assert [name for name in names if not re.fullmatch(r"[A-Za-z0-9_. :/-]{1,250}", name)] == []
    assert dict(flat({"kéys": {"6+": [1, None], "empty": {}}, "off": None})) == {
        "k_ys.6_": "[1, null]",
        "k_ys.empty": "{}",
    }


def test_no_password_is_told(told: RunTold, world: World, tmp_path: Path) -> None:
    write_files(told, world.run, world.report, tmp_path)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"hush" not in kept + msgspec.json.encode({"params": told.params, "tags": told.tags, "data": told.dataset})
    assert b"photos.example/all" in kept
    assert {path.name for path in tmp_path.iterdir()} == {
        "environment.json", "findings.json", "recipe.toml", "report", "run.json",
    }  # fmt: skip


def test_a_training_that_nobody_watched_says_so(world: World, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_data(tmp_path / "data", {"a": "train"}))
    (run / "log" / "findings.jsonl").unlink()
    assert read_told(run, bundle=None, report=None, by="rita").tags["bintally.findings"] == "not watched"


def test_what_does_not_belong_together_is_refused(world: World, tmp_path: Path) -> None:
    other = make_run(tmp_path / "run", make_data(tmp_path / "data", {"z": "train"}), name="other")
    with pytest.raises(UsageError, match="not of the run"):
        read_told(other, bundle=world.bundle, report=None, by="rita")
    strange = make_exported(tmp_path / "bundle", world.run, sharpness=3.0)
    with pytest.raises(UsageError, match="of another model"):
        read_told(world.run, bundle=strange, report=world.report, by="rita")
    with pytest.raises(CheckpointError, match="no finished run"):
        read_told(tmp_path, bundle=None, report=None, by="rita")
