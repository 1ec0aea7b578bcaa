"""What the kept epoch said of val is in the run, in the columns of an evaluation, and is what it was judged by."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from bintally.counting import metrics
from bintally.counting.compare import compare
from bintally.counting.predictions import PREDICTIONS, read_predictions
from bintally.errors import CheckpointError
from bintally.training.finished import read_run
from bintally.training.loop import LAST
from bintally.training.plan import Plan
from bintally.training.run import CHECKPOINTS, train
from bintally.training.told import TOLD, keep_told, write_told
from tests.training.conftest import tiny_recipe

COLUMNS = ["bin_image_id", "group", "recorded_count", "recorded_key", "count", "expected_count", "count_set"]


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("told") / "run"
    train(recipe=tiny_recipe(), data=data, out=folder)
    return folder


@pytest.mark.parametrize("sections", [{}, {"network": {"tune": "head"}}, {"evaluate": {"counts": "1-5"}}])
def test_predictions_have_the_figures_of_the_kept_epoch(
    sections: dict[str, dict[str, object]], run: Path, data: Path, tmp_path: Path
) -> None:
    if sections:
        run = tmp_path / "run"
        train(recipe=tiny_recipe(**sections), data=data, out=run)
    recipe, report = read_run(run)
    table = pl.read_parquet(run / PREDICTIONS)
    assert table.columns == [*COLUMNS, "abstain", "error", *(f"p_{key}" for key in recipe.asked_keys)]
    told = read_predictions(run / PREDICTIONS)
    assert told.keys == recipe.asked_keys
    assert set(table["recorded_key"]) <= set(recipe.asked_keys)
    values_k = np.array([report.values[key] for key in told.keys])
    assert metrics.log_loss(told.probabilities_nk, told.labels_n) == pytest.approx(report.best["log_loss"], rel=1e-6)
    assert metrics.accuracy(told.probabilities_nk, told.labels_n) == pytest.approx(report.best["accuracy"])
    assert metrics.rmse(told.probabilities_nk, told.labels_n, values_k) == pytest.approx(report.best["rmse"], rel=1e-6)
    assert table["expected_count"].to_numpy() == pytest.approx(told.probabilities_nk @ values_k)


def test_a_training_that_goes_on_after_a_kill_ends_with_the_same_predictions(data: Path, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    class Kill(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
            if trainer.global_step == steps + 2:
                raise KilledError

    recipe = tiny_recipe(loop={"checkpoint_minutes": 1e-4})
    whole = train(recipe=recipe, data=data, out=tmp_path / "whole")
    steps = -(-whole.train_photos // recipe.loop.batch_size)
    with pytest.raises(KilledError):
        train(recipe=recipe, data=data, out=tmp_path / "killed", callbacks=[Kill()])
    assert (tmp_path / "killed" / CHECKPOINTS / LAST).is_file()
    assert (tmp_path / "killed" / CHECKPOINTS / TOLD).is_file()
    resumed = train(recipe=recipe, data=data, out=tmp_path / "killed")
    assert resumed.resumed_at_step > 0
    tables = [pl.read_parquet(tmp_path / name / PREDICTIONS) for name in ("whole", "killed")]
    assert tables[0].equals(tables[1])


def test_runs_are_compared_by_what_they_said_of_val(run: Path, data: Path, tmp_path: Path) -> None:
    """A run, a longer one, and the first again: the pair that is one model shows no difference."""
    for name in ("a", "c"):
        shutil.copytree(run, tmp_path / name)
    train(recipe=tiny_recipe(loop={"epochs": 3}), data=data, out=tmp_path / "b")
    found = compare(runs=[tmp_path / "a", tmp_path / "b", tmp_path / "c"], out=tmp_path / "cmp", data=data)
    assert found.photos == Plan.of(tiny_recipe(), data).val.height
    assert [entrant.kind for entrant in found.entrants] == ["run"] * 3
    assert all((entrant.parameters or 0) > 10_000 for entrant in found.entrants)
    same = found.pairs[1]
    assert (same.p_exact, same.only_this, same.only_other) == (1.0, 0, 0)
    assert "How they learnt" in (tmp_path / "cmp" / "compare.html").read_text()


def test_what_was_kept_of_other_photos_is_refused(data: Path, tmp_path: Path) -> None:
    plan = Plan.of(tiny_recipe(), data)
    with pytest.raises(CheckpointError, match="missing or not whole"):
        write_told(plan, tmp_path, tmp_path)
    keep_told(tmp_path / CHECKPOINTS, np.full((plan.val.height, 7), 1 / 7))
    write_told(plan, tmp_path / CHECKPOINTS, tmp_path)
    assert len(read_predictions(tmp_path / PREDICTIONS)) == plan.val.height
    fewer = Plan.of(tiny_recipe().model_copy(update={"counts": "1-5"}), data)
    with pytest.raises(CheckpointError, match="of other photos than val"):
        write_told(fewer, tmp_path / CHECKPOINTS, tmp_path)
