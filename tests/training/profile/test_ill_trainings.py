"""Real trainings, each made to have one illness; and a healthy one beside it."""

import gc
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import Callback

from bintally.training.profile.breakdown import Part, breakdown
from bintally.training.profile.rules import profile_rules
from bintally.training.run import train
from tests.training.conftest import tiny_recipe
from tests.training.profile.conftest import train_toy

BATCHES = 250


class Sleeps(Callback):
    """Somebody's callback that takes `seconds` each `every` batches."""

    def __init__(self, seconds: float, every: int = 1) -> None:
        self._seconds, self._every = seconds, every

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % self._every == 5 % self._every:
            time.sleep(self._seconds)


class Collects(Callback):
    """Somebody's callback that has Python look through a large heap."""

    def __init__(self) -> None:
        self._heap = [[] for _ in range(300_000)]  # type: ignore[var-annotated]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        gc.collect()


def _rules(run: Path, **asked: Any) -> set[str]:
    return {found.rule for found in profile_rules(run, **asked)}


def _share(parts: tuple[Part, ...], name: str) -> float:
    return next((part.share for part in parts if part.name == name), 0.0)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("healthy")
    train_toy(run, batches=BATCHES)
    return run


def test_a_healthy_training_has_no_findings(healthy: Path) -> None:
    assert _rules(healthy) == set()


def test_a_stalled_loader(tmp_path: Path) -> None:
    train_toy(tmp_path, batches=40, wait_s=0.02)
    (found,) = profile_rules(tmp_path)
    assert found.rule == "Dataloader"
    assert "0 loader processes" in found.message
    spent = breakdown(tmp_path)
    assert spent.phases[0].name == "data"
    assert spent.phases[0].seconds > 40 * 0.02
    assert "of the time waits for data" in spent.sentence


def test_somebodys_slow_callback_is_named(tmp_path: Path, healthy: Path) -> None:
    train_toy(tmp_path, batches=40, callbacks=[Sleeps(0.02)])
    spent = breakdown(tmp_path)
    assert spent.phases[0].name == "other"
    assert _share(spent.parts["other"], "callback Sleeps") > 0.5
    assert "most of it callback Sleeps" in spent.sentence
    assert "Sleeps" not in breakdown(healthy).sentence


def test_pythons_collector_is_named(tmp_path: Path, healthy: Path) -> None:
    gc.freeze()  # what other tests have left behind is not looked through
    try:
        train_toy(tmp_path, batches=40, callbacks=[Collects()])
    finally:
        gc.unfreeze()
    spent = breakdown(tmp_path)
    assert "most of it gc" in spent.sentence
    assert _share(spent.parts["other"], "gc") > 0.4 > _share(breakdown(healthy).parts["other"], "gc")


def test_checkpoints_all_the_time_are_named(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(loop={"checkpoint_minutes": 1e-6, "epochs": 1})
    train(recipe=recipe, data=data, out=tmp_path)
    spent = breakdown(tmp_path)
    assert spent.parts["logging"][0].name == "checkpoint"


def test_steps_that_fall_out(tmp_path: Path, healthy: Path) -> None:
    train_toy(tmp_path, batches=BATCHES, callbacks=[Sleeps(0.15, every=20)])
    (found,) = profile_rules(tmp_path)
    assert (found.rule, found.value > 10, found.step) == ("StepOutlier", True, 5)
    assert "What they do longer: other" in found.message
    assert _rules(tmp_path, defaults="guide") == set()  # five deviations, which so many steps can't be out of
    assert _rules(tmp_path, parameters={"StepOutlier_n_outliers": 30}) == set()
    slow = breakdown(tmp_path).slowest
    assert all("callback Sleeps took" in step.why for step in slow)
    assert "StepOutlier" not in _rules(healthy)


def test_a_late_start(tmp_path: Path, healthy: Path) -> None:
    train_toy(tmp_path, batches=3, prepare=lambda: time.sleep(1.2))
    (found,) = profile_rules(tmp_path, parameters={"MaxInitializationTime_threshold": 1 / 60})
    assert found.rule == "MaxInitializationTime"
    assert found.value > 1.2 / 60
    assert _rules(healthy, parameters={"MaxInitializationTime_threshold": 2}) == set()
