import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from bintally.cli.common import RichProgress
from bintally.errors import BackboneError, CheckpointError, TrainingError
from bintally.manifest import SPLIT, Manifest
from bintally.training.cache import PhotoCache
from bintally.training.dataset import labels_of
from bintally.training.export import export
from bintally.training.finished import TrainReport, read_run
from bintally.training.network import WEIGHTS, build_network, load_weights
from bintally.training.plan import Plan
from bintally.training.recipe import Recipe
from bintally.training.run import CHECKPOINTS, train
from tests.training.conftest import tiny_recipe
from tests.training.forked import forked, get_ready, train_tiny, wait_for

LAST = Path(CHECKPOINTS) / "last.ckpt"


def _same_weights(first: Path, second: Path) -> bool:
    a, b = load_file(first / WEIGHTS), load_file(second / WEIGHTS)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainReport]:
    """A run that nothing has happened to; whoever changes it, takes a copy."""
    get_ready()
    out = tmp_path_factory.mktemp("finished") / "run"
    return out, train(recipe=tiny_recipe(), data=data, out=out)


@pytest.fixture
def copied(finished: tuple[Path, TrainReport], tmp_path: Path) -> Path:
    """A copy of that run."""
    return shutil.copytree(finished[0], tmp_path / "run")


def test_a_run_leaves_everything_that_export_needs(finished: tuple[Path, TrainReport]) -> None:
    run, report = finished
    recipe, read = read_run(run)
    assert read == report
    assert recipe == tiny_recipe()
    assert (run / "curves.svg").read_text().startswith("<svg")
    assert len(report.history) == 2
    assert report.best["log_loss"] == min(row["log_loss"] for row in report.history)
    assert sum(report.train_prior.values()) == pytest.approx(1)
    assert report.values["6+"] >= 6
    assert not report.stopped_early


def test_training_is_repeatable(data: Path, tmp_path: Path, finished: tuple[Path, TrainReport]) -> None:
    train(recipe=tiny_recipe(), data=data, out=tmp_path / "again")
    assert _same_weights(finished[0], tmp_path / "again")


def test_each_epoch_is_a_line_and_freed_memory_is_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept: list[bool] = []
    monkeypatch.setattr("bintally.training.run.keep_freed_memory", lambda: kept.append(True))
    report = train(
        recipe=tiny_recipe(), data=data, out=tmp_path / "run", progress=RichProgress(Console(stderr=True, width=120))
    )
    lines = [line.strip() for line in capsys.readouterr().err.splitlines() if line.startswith("  epoch ")]
    assert len(lines) == len(report.history) == 2
    for row, line in zip(report.history, lines, strict=True):
        assert line.startswith(f"epoch {row['epoch']:.0f} of 2: loss {row['train_loss']:.3f}; val log loss")
        assert f"right {row['accuracy']:.1%}" in line
    assert kept == [True]


def test_another_seed_is_another_training_and_is_kept_in_the_recipe(
    data: Path, tmp_path: Path, finished: tuple[Path, TrainReport]
) -> None:
    train(recipe=tiny_recipe(), data=data, out=tmp_path / "other", seed=1)
    assert not _same_weights(finished[0], tmp_path / "other")
    assert read_run(tmp_path / "other")[0].seed == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU, what is replayed may sum in another order")
def test_without_a_gpu_recording_steps_changes_nothing(
    data: Path, tmp_path: Path, finished: tuple[Path, TrainReport]
) -> None:
    train(recipe=tiny_recipe(loop={"cuda_graph": True}), data=data, out=tmp_path / "recorded")
    assert _same_weights(finished[0], tmp_path / "recorded")


@pytest.fixture(scope="module")
def frozen(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainReport]:
    """A run of a frozen backbone."""
    out = tmp_path_factory.mktemp("frozen") / "run"
    recipe = tiny_recipe(network={"tune": "head"}, loop={"epochs": 3}, export={"flip_averaging": False})
    return out, train(recipe=recipe, data=data, out=out)


def test_what_a_frozen_backbones_head_learnt_is_what_the_run_answers(
    data: Path, frozen: tuple[Path, TrainReport]
) -> None:
    """The head learns from standardised features; what is kept must say the same of plain ones, as val judged it."""
    run, report = frozen
    recipe = read_run(run)[0]
    network = build_network(recipe.network, 7, pretrained=False)[0]
    load_weights(network, load_file(run / WEIGHTS), "run", strict=True)
    plan = Plan.of(recipe, data)
    cache = PhotoCache.build(data, plan.val, px=recipe.input.px)
    pixels_nhwc = torch.from_numpy(cache.read(cache.rows(plan.val["sha256"].to_list())))
    with torch.no_grad():
        logits_nk = network.eval()(pixels_nhwc.permute(0, 3, 1, 2)).numpy()
    figures = plan.target.figures(logits_nk, labels_of(plan.val, plan.keys))
    assert figures["log_loss"] == pytest.approx(report.best["log_loss"], abs=1e-3)


def test_training_learns(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(loop={"epochs": 8}, augment={"crop_min_area": 1.0, "brightness": 0, "contrast": 0})
    report = train(recipe=recipe, data=data, out=tmp_path / "run")
    assert report.history[-1]["train_loss"] < 0.9 * report.history[0]["train_loss"]


def test_frozen_backbone_trains_its_head_alone(frozen: tuple[Path, TrainReport]) -> None:
    recipe = read_run(frozen[0])[0]
    torch.manual_seed(recipe.seed)
    fresh = build_network(recipe.network, 7)[0].backbone.state_dict()
    trained = load_file(frozen[0] / WEIGHTS)
    changed = {name for name in trained if not torch.equal(trained[name], fresh[name])}
    assert changed == {"fc.weight", "fc.bias"}


_OFTEN = {"loop": {"epochs": 6, "checkpoint_minutes": 1e-4}}


_WHOLE_BINS = {"network": {"tells": ["change", "record"]}, "loop": {**_OFTEN["loop"], "epochs": 3, "average": 0.9}}


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("plain", marks=pytest.mark.soak),
        "whole bins",
        "averaged, mixed, taught, with loader processes",
    ],
)
def test_a_killed_run_ends_in_the_very_weights_of_one_that_was_not(
    data: Path, tmp_path: Path, finished: tuple[Path, TrainReport], how: str
) -> None:
    sections: dict[str, Any] = _WHOLE_BINS if how == "whole bins" else _OFTEN
    straight = tiny_recipe(**sections)
    if how.startswith("averaged"):
        sections = {
            "augment": {"mixup": 0.4, "cutmix": 1.0, "mix_share": 0.8, "rotate": 5},
            "teacher": {"runs": [str(finished[0])], "weight": 0.5, "temperature": 2},
            "optimizer": {"layer_decay": 0.7, "clip_norm": 1},
            "loop": {**_OFTEN["loop"], "average": 0.9},
        }
        straight = tiny_recipe(**sections)
        sections = {**sections, "loop": {**sections["loop"], "workers": 2}}  # their number changes nothing
    recipe = tiny_recipe(**sections)
    train(recipe=straight, data=data, out=tmp_path / "straight", threads=1)
    child = forked(train_tiny, data, tmp_path / "killed", sections)
    wait_for(tmp_path / "killed" / LAST, child)
    time.sleep(0.3)
    child.kill()
    child.join()
    assert not (tmp_path / "killed" / "run.json").exists(), "it was killed too late to test anything"
    report = train(recipe=recipe, data=data, out=tmp_path / "killed", threads=1)
    assert report.resumed_at_step > 0
    assert len(report.history) == recipe.loop.epochs
    assert _same_weights(tmp_path / "straight", tmp_path / "killed")


def test_ctrl_c_ends_with_a_whole_checkpoint(data: Path, tmp_path: Path) -> None:
    child = forked(train_tiny, data, tmp_path / "run", _OFTEN, stderr=tmp_path / "said")
    wait_for(tmp_path / "run" / LAST, child)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGINT)
    child.join(timeout=60)
    assert "KeyboardInterrupt" in (tmp_path / "said").read_text()
    assert child.exitcode not in (0, None)
    torch.load(tmp_path / "run" / LAST, weights_only=True)
    assert not (tmp_path / "run" / "run.json").exists()
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_truncated_checkpoint_is_called_so(data: Path, copied: Path) -> None:
    last = copied / LAST
    last.write_bytes(last.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"last\.ckpt is no whole checkpoint.*Delete it"):
        train(recipe=tiny_recipe(), data=data, out=copied)


def test_a_run_of_another_recipe_is_not_resumed(data: Path, copied: Path) -> None:
    other = tiny_recipe(optimizer={"body_lr": 1e-4})
    with pytest.raises(CheckpointError, match=r"another recipe.*--fresh"):
        train(recipe=other, data=data, out=copied)
    assert train(recipe=other, data=data, out=copied, fresh=True).resumed_at_step == 0


def test_going_on_from_an_earlier_run(data: Path, tmp_path: Path, finished: tuple[Path, TrainReport]) -> None:
    recipe = tiny_recipe(network={"start": finished[0]}, loop={"epochs": 1})
    assert str(finished[0]) in train(recipe=recipe, data=data, out=tmp_path / "second").weights


def test_no_photo_of_a_count_is_told_with_a_way_out(data: Path, tmp_path: Path) -> None:
    folder = _with_train(data, tmp_path, keep=lambda count: count not in (3, 4))
    with pytest.raises(TrainingError, match=r"no photo of count 3, 4 in train.*'0,1,2,5,6\+'"):
        train(recipe=tiny_recipe(), data=folder, out=tmp_path / "run")


def test_no_photo_at_all_is_told(data: Path, tmp_path: Path) -> None:
    folder = _with_train(data, tmp_path, keep=lambda count: False)
    with pytest.raises(TrainingError, match="no usable photo in train"):
        train(recipe=tiny_recipe(), data=folder, out=tmp_path / "run")


def test_exploding_loss_stops_with_advice_and_nothing_is_kept_of_its_epoch(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(optimizer={"name": "sgd", "body_lr": 1e30, "head_lr": 1e30, "schedule": "constant"})
    with pytest.raises(TrainingError, match=r"The loss became (nan|inf).*body_lr"):
        train(recipe=recipe, data=data, out=tmp_path / "run")
    assert not list((tmp_path / "run" / CHECKPOINTS).iterdir())


@pytest.mark.parametrize("tune", ["all", "head"])
def test_the_average_is_what_is_judged_and_kept(data: Path, tmp_path: Path, tune: str) -> None:
    recipe = tiny_recipe(network={"tune": tune}, loop={"epochs": 1, "average": 0.5})
    train(recipe=recipe, data=data, out=tmp_path / "run")
    kept = load_file(tmp_path / "run" / CHECKPOINTS / "best.safetensors")
    state = torch.load(tmp_path / "run" / LAST, weights_only=True)["state_dict"]
    weights, averaged = (
        {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        for prefix in ("network.", "averaged.network.")
    )
    assert kept.keys() == averaged.keys() == weights.keys()
    assert all(torch.equal(kept[name], averaged[name]) for name in kept)
    assert not all(torch.equal(kept[name], weights[name]) for name in kept)


def test_a_network_that_was_cut_trains_and_keeps_its_weights(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(network={"stages": 3}, loop={"epochs": 1})
    train(recipe=recipe, data=data, out=tmp_path / "run")
    trained = load_file(tmp_path / "run" / WEIGHTS)
    assert not [name for name in trained if name.startswith("layer4")]
    assert trained["fc.weight"].shape == (7, 192)
    assert export(run=tmp_path / "run", data=data, out=tmp_path / "bundle").max_difference < 0.02


def test_what_is_told_beside_the_count_is_learnt_and_kept(
    data: Path, tmp_path: Path, finished: tuple[Path, TrainReport]
) -> None:
    recipe = tiny_recipe(network={"tells": ("change", "record")}, loop={"epochs": 3}, teacher={"weight": 0.0})
    report = train(recipe=recipe, data=data, out=tmp_path / "run")
    first, *_, last = report.history
    assert last["train_loss"] < first["train_loss"]
    assert 0 <= last["change_accuracy"] <= 1
    assert last["change_log_loss"] > 0
    weights = load_file(tmp_path / "run" / WEIGHTS)
    assert {"change.out.weight", "record.weight", "fc.weight"} <= weights.keys()
    # A network that only counts takes what it knows, and says nothing of the rest.
    network, _ = build_network(tiny_recipe().network, 7)
    assert load_weights(network, weights, "run", strict=True) == "run"
    assert torch.equal(network.weights()["fc.weight"], weights["fc.weight"])
    # And a run that tells more goes on from one that only counted.
    more = tiny_recipe(network={"tells": ("record",), "start": finished[0]}, loop={"epochs": 1})
    assert "start from scratch" not in train(recipe=more, data=data, out=tmp_path / "more").weights


def test_early_stopping_stops_and_such_a_run_is_over(data: Path, tmp_path: Path) -> None:
    loop = {"epochs": 12, "patience": 1, "monitor": "accuracy"}
    recipe = tiny_recipe(loop=loop, optimizer={"body_lr": 1e-9, "head_lr": 1e-9})
    report: TrainReport = train(recipe=recipe, data=data, out=tmp_path / "run")
    assert report.stopped_early
    assert len(report.history) < 12
    assert train(recipe=recipe, data=data, out=tmp_path / "run").history == report.history


def test_class_weights_and_bf16_train(data: Path, tmp_path: Path) -> None:
    recipe: Recipe = tiny_recipe(balance={"method": "class_weights"}, loop={"epochs": 1, "precision": "bf16"})
    report = train(recipe=recipe, data=data, out=tmp_path / "run")
    assert report.history[0]["train_loss"] > 0
    assert list(report.train_prior.values()) == pytest.approx([1 / 7] * 7), "a weighted loss teaches the weighted mix"


def test_a_network_that_cannot_see_this_size_is_found_out_at_once(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(network={"backbone": "vit_tiny_patch16_224", "weights": "none"})
    with pytest.raises(BackboneError, match=r"can't count at 64 px.*input\.px = 224"):
        train(recipe=recipe, data=data, out=tmp_path / "run")


def test_replacing_makes_a_finished_run_anew(data: Path, copied: Path) -> None:
    again = train(recipe=tiny_recipe(), data=data, out=copied, replace=True)
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
