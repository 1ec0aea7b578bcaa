import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bintally.errors import BackboneError, CheckpointError, TrainingError
from bintally.manifest import SPLIT, Manifest
from bintally.training.network import WEIGHTS
from bintally.training.recipe import Recipe
from bintally.training.run import CHECKPOINTS, TrainReport, read_run, train
from tests.training.conftest import tiny_recipe

LAST = Path(CHECKPOINTS) / "last.ckpt"


def _same_weights(first: Path, second: Path) -> bool:
    a, b = load_file(first / WEIGHTS), load_file(second / WEIGHTS)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_leaves_everything_that_export_needs(data: Path, tmp_path: Path) -> None:
    report = train(recipe=tiny_recipe(), data=data, out=tmp_path / "run")
    recipe, read = read_run(tmp_path / "run")
    assert read == report
    assert recipe == tiny_recipe()
    assert (tmp_path / "run" / "curves.svg").read_text().startswith("<svg")
    assert len(report.history) == 2
    assert report.best["log_loss"] == min(row["log_loss"] for row in report.history)
    assert sum(report.train_prior.values()) == pytest.approx(1)
    assert report.values["6+"] >= 6
    assert not report.stopped_early


def test_training_is_repeatable(data: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        train(recipe=tiny_recipe(), data=data, out=tmp_path / name)
    assert _same_weights(tmp_path / "a", tmp_path / "b")


def test_training_learns(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(loop={"epochs": 8}, augment={"crop_min_area": 1.0, "brightness": 0, "contrast": 0})
    report = train(recipe=recipe, data=data, out=tmp_path / "run")
    assert report.history[-1]["train_loss"] < 0.9 * report.history[0]["train_loss"]


def test_frozen_backbone_trains_its_head_alone(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(network={"tune": "head"}, loop={"epochs": 3})
    train(recipe=recipe, data=data, out=tmp_path / "run")
    torch.manual_seed(recipe.seed)
    from bintally.training.network import build_network

    fresh = build_network(recipe.network, 7)[0].backbone.state_dict()
    trained = load_file(tmp_path / "run" / WEIGHTS)
    changed = {name for name in trained if not torch.equal(trained[name], fresh[name])}
    assert changed == {"fc.weight", "fc.bias"}


_CHILD = """
import signal, sys
from pathlib import Path
from bintally.training.run import train
from tests.training.conftest import tiny_recipe
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with Ctrl-C ignored
train(recipe=tiny_recipe(loop={"epochs": 6, "checkpoint_minutes": 1e-4}), data=Path(sys.argv[1]), out=Path(sys.argv[2]))
"""


def _child(data: Path, out: Path) -> "subprocess.Popen[bytes]":
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(data), str(out)],
        env={**os.environ, "PYTHONPATH": root},
        stderr=subprocess.PIPE,
    )


def _wait_for(path: Path, child: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 120
    while not path.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert path.exists(), child.communicate()[1]


def test_a_killed_run_ends_in_the_very_weights_of_one_that_was_not(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(loop={"epochs": 6, "checkpoint_minutes": 1e-4})
    train(recipe=recipe, data=data, out=tmp_path / "straight", threads=1)
    with _child(data, tmp_path / "killed") as child:
        _wait_for(tmp_path / "killed" / LAST, child)
        time.sleep(0.3)
        child.kill()
    assert not (tmp_path / "killed" / "run.json").exists(), "it was killed too late to test anything"
    report = train(recipe=recipe, data=data, out=tmp_path / "killed", threads=1)
    assert report.resumed_at_step > 0
    assert len(report.history) == 6
    assert _same_weights(tmp_path / "straight", tmp_path / "killed")


def test_ctrl_c_ends_with_a_whole_checkpoint(data: Path, tmp_path: Path) -> None:
    with _child(data, tmp_path / "run") as child:
        _wait_for(tmp_path / "run" / LAST, child)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)
    assert b"KeyboardInterrupt" in said
    assert child.returncode != 0
    torch.load(tmp_path / "run" / LAST, weights_only=True)
    assert not (tmp_path / "run" / "run.json").exists()
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_truncated_checkpoint_is_called_so(data: Path, tmp_path: Path) -> None:
    train(recipe=tiny_recipe(), data=data, out=tmp_path / "run")
    last = tmp_path / "run" / LAST
    last.write_bytes(last.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"last\.ckpt is no whole checkpoint.*Delete it"):
        train(recipe=tiny_recipe(), data=data, out=tmp_path / "run")


def test_a_run_of_another_recipe_is_not_resumed(data: Path, tmp_path: Path) -> None:
    train(recipe=tiny_recipe(), data=data, out=tmp_path / "run")
    other = tiny_recipe(optimizer={"body_lr": 1e-4})
    with pytest.raises(CheckpointError, match=r"another recipe.*--fresh"):
        train(recipe=other, data=data, out=tmp_path / "run")
    assert train(recipe=other, data=data, out=tmp_path / "run", fresh=True).resumed_at_step == 0


def test_going_on_from_an_earlier_run(data: Path, tmp_path: Path) -> None:
    train(recipe=tiny_recipe(), data=data, out=tmp_path / "first")
    recipe = tiny_recipe(network={"start": tmp_path / "first"}, loop={"epochs": 1})
    assert str(tmp_path / "first") in train(recipe=recipe, data=data, out=tmp_path / "second").weights


def test_no_photo_of_a_count_is_told_with_a_way_out(data: Path, tmp_path: Path) -> None:
    folder = _with_train(data, tmp_path, keep=lambda count: count not in (3, 4))
    with pytest.raises(TrainingError, match=r"no photo of count 3, 4 in train.*'0,1,2,5,6\+'"):
        train(recipe=tiny_recipe(), data=folder, out=tmp_path / "run")


def test_no_photo_at_all_is_told(data: Path, tmp_path: Path) -> None:
    folder = _with_train(data, tmp_path, keep=lambda count: False)
    with pytest.raises(TrainingError, match="no usable photo in train"):
        train(recipe=tiny_recipe(), data=folder, out=tmp_path / "run")


def test_exploding_loss_stops_with_advice(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(optimizer={"name": "sgd", "body_lr": 1e30, "head_lr": 1e30, "schedule": "constant"})
    with pytest.raises(TrainingError, match=r"The loss became (nan|inf).*body_lr"):
        train(recipe=recipe, data=data, out=tmp_path / "run")


def test_early_stopping_stops(data: Path, tmp_path: Path) -> None:
    loop = {"epochs": 12, "patience": 1, "monitor": "accuracy"}
    recipe = tiny_recipe(loop=loop, optimizer={"body_lr": 1e-9, "head_lr": 1e-9})
    report: TrainReport = train(recipe=recipe, data=data, out=tmp_path / "run")
    assert report.stopped_early
    assert len(report.history) < 12


def test_class_weights_and_bf16_train(data: Path, tmp_path: Path) -> None:
    recipe: Recipe = tiny_recipe(balance={"method": "class_weights"}, loop={"epochs": 1, "precision": "bf16"})
    report = train(recipe=recipe, data=data, out=tmp_path / "run")
    assert report.history[0]["train_loss"] > 0
    assert list(report.train_prior.values()) == pytest.approx([1 / 7] * 7), "a weighted loss teaches the weighted mix"


def test_an_early_stopped_run_is_over(data: Path, tmp_path: Path) -> None:
    loop = {"epochs": 12, "patience": 1, "monitor": "accuracy"}
    recipe = tiny_recipe(loop=loop, optimizer={"body_lr": 1e-9, "head_lr": 1e-9})
    first = train(recipe=recipe, data=data, out=tmp_path / "run")
    assert train(recipe=recipe, data=data, out=tmp_path / "run").history == first.history


def test_a_network_that_cannot_see_this_size_is_found_out_at_once(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(network={"backbone": "vit_tiny_patch16_224", "weights": "none"})
    with pytest.raises(BackboneError, match=r"can't count at 64 px.*input\.px = 224"):
        train(recipe=recipe, data=data, out=tmp_path / "run")


def test_replacing_makes_a_finished_run_anew(data: Path, tmp_path: Path) -> None:
    train(recipe=tiny_recipe(), data=data, out=tmp_path / "run")
    again = train(recipe=tiny_recipe(), data=data, out=tmp_path / "run", replace=True)
    assert again.resumed_at_step == 0


def _with_train(data: Path, tmp_path: Path, *, keep: Callable[[int], bool]) -> Path:
    """A data folder whose train part has only the counts that `keep` says."""
    import polars as pl

    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("bin-images", "metadata"):
        (folder / name).symlink_to(data / name)
    manifest = Manifest.read(data, SPLIT)
    kept = [
        split != "train" or keep(count) for split, count in manifest.table.select("split", "recorded_count").iter_rows()
    ]
    Manifest(folder, manifest.table.filter(pl.Series(kept)), name=SPLIT).write(SPLIT)
    return folder
