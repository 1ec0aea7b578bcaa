import gc
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file

from bintally.artifacts import read_rows
from bintally.errors import TrainingError
from bintally.training.network import WEIGHTS
from bintally.training.profile.machine import read_environment
from bintally.training.profile.timing import StepTimer, with_totals
from bintally.training.run import train
from bintally.training.run_log import LOG, PHASES, SYSTEM, VALIDATIONS, SystemRow, ValidationRow, read_steps
from tests.training.conftest import tiny_recipe
from tests.training.forked import forked, get_ready, train_tiny
from tests.training.profile.conftest import train_toy


def _whole(seconds: dict[str, float]) -> float:
    return sum(value for name, value in seconds.items() if ":" not in name)


def test_rows_sum_to_the_trainings_time_and_parts_to_no_more_than_their_phase(tmp_path: Path) -> None:
    fit_s = train_toy(tmp_path, batches=40, epochs=3)
    rows = read_steps(tmp_path)
    assert [row.step for row in rows] == list(range(120))
    assert [row.epoch for row in rows] == [1 + step // 40 for step in range(120)]
    told = sum(_whole(row.seconds) for row in rows)
    assert 0.75 * fit_s < told <= fit_s  # the rest: the trainer's own start, before it calls anybody
    for row in rows:
        for phase in PHASES:
            parts = sum(value for name, value in row.seconds.items() if name.startswith(f"{phase}:"))
            assert parts <= row.seconds.get(phase, 0.0) + 1e-5
    assert ["validation" in row.seconds for row in rows].count(True) == 3
    assert ["other:start" in row.seconds for row in rows].count(True) == 1
    ends = [row.at for row in rows]
    assert ends == sorted(ends)


@given(
    st.dictionaries(
        st.sampled_from([*PHASES, "other:gc", "other:callback X", "logging:K"]),
        st.floats(0, 9).map(lambda s: round(s, 4)),
    )
)
def test_totals_hold_every_name_and_small_parts_are_not_told(seconds: dict[str, float]) -> None:
    told = with_totals(seconds)
    assert _whole(told) == pytest.approx(sum(seconds.values()), abs=1e-5)
    for name, value in told.items():
        if ":" in name:
            assert value > 0.001 * sum(seconds.values())


def test_a_training_tells_of_its_steps_its_validations_and_its_machine(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(profile={"system_s": 0.05})
    report = train(recipe=recipe, data=data, out=tmp_path / "run")
    rows = read_steps(tmp_path / "run")
    per_epoch = len(rows) // 2
    for row in report.history:
        epoch = [step.loss for step in rows if step.epoch == row["epoch"] and step.loss is not None]
        assert len(epoch) == per_epoch
        assert sum(epoch) / len(epoch) == pytest.approx(row["train_loss"])
    assert all(row.photos == 16 for row in rows)
    assert rows[0].rate < max(row.rate for row in rows) == pytest.approx(2e-3, rel=0.1)
    validations = list(read_rows(tmp_path / "run" / LOG / VALIDATIONS, ValidationRow))
    for told, row in zip(validations, report.history, strict=True):
        assert told.figures["log_loss"] == pytest.approx(row["log_loss"])
        assert 0 < told.seconds < row["seconds"]
    assert list(read_rows(tmp_path / "run" / LOG / SYSTEM, SystemRow))
    here = read_environment(tmp_path / "run")
    assert here is not None
    assert here.threads == torch.get_num_threads()
    assert here.versions["torch"] == torch.__version__.partition("+")[0]


def test_being_watched_changes_no_weight_and_leaves_nothing_behind(data: Path, tmp_path: Path) -> None:
    hooks = list(gc.callbacks)
    for name, profile in (
        ("watched", {"system_s": 0.05}),
        ("alone", {"steps": False, "system_s": 0}),
    ):
        recipe = tiny_recipe(profile=profile, loop={"average": 0.9})
        train(recipe=recipe, data=data, out=tmp_path / name, profile=name == "watched")
    watched, alone = (load_file(tmp_path / name / WEIGHTS) for name in ("watched", "alone"))
    assert all(torch.equal(watched[key], alone[key]) for key in alone)
    assert (tmp_path / "watched" / "profile" / "operators.json").is_file()
    assert not (tmp_path / "alone" / LOG / SYSTEM).exists()
    assert read_steps(tmp_path / "alone") == []
    assert gc.callbacks == hooks


def test_a_fresh_start_tells_nothing_of_what_was_before(data: Path, tmp_path: Path) -> None:
    """Once, the rows of a longer run would have stood behind those of the shorter one that took its place."""
    train(recipe=tiny_recipe(), data=data, out=tmp_path / "run")
    longer = len(read_steps(tmp_path / "run"))
    train(recipe=tiny_recipe(loop={"epochs": 1}), data=data, out=tmp_path / "run", fresh=True)
    assert len(read_steps(tmp_path / "run")) == longer // 2


def test_a_killed_and_resumed_run_tells_every_step_once_as_one_that_was_not(data: Path, tmp_path: Path) -> None:
    sections: dict[str, Any] = {"loop": {"epochs": 5, "checkpoint_minutes": 1e-4}}
    get_ready()
    train(recipe=tiny_recipe(**sections), data=data, out=tmp_path / "whole", threads=1)
    out = tmp_path / "killed"
    child = forked(train_tiny, data, out, sections)
    deadline = time.monotonic() + 120
    while len(read_steps(out)) < 8 and child.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    child.kill()
    child.join()
    assert len(read_steps(out)) < 30
    report = train(recipe=tiny_recipe(**sections), data=data, out=out, threads=1)
    assert report.resumed_at_step > 0
    whole, resumed = read_steps(tmp_path / "whole"), read_steps(out)
    assert [(row.step, row.epoch, row.loss, row.rate) for row in resumed] == [
        (row.step, row.epoch, row.loss, row.rate) for row in whole
    ]


class _Breaks(Callback):
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 5:
            raise TrainingError("enough")


def test_a_training_that_breaks_leaves_what_it_knew(tmp_path: Path) -> None:
    hooks = list(gc.callbacks)
    with pytest.raises(TrainingError, match="enough"):
        train_toy(tmp_path, callbacks=[_Breaks()])
    assert gc.callbacks == hooks
    assert read_environment(tmp_path) is not None


def test_it_fetches_losses_itself_where_nobody_else_does(tmp_path: Path) -> None:
    train_toy(tmp_path / "a", callbacks=[StepTimer(tmp_path / "b")], recipe=tiny_recipe(profile={"steps": False}))
    assert [row.step for row in read_steps(tmp_path / "b")] == list(range(60))
