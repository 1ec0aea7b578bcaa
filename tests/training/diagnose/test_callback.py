"""Rules within `bintally train`: what is written, what is said, when it ends."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import Callback

from bintally.errors import ConfigError, TrainingError
from bintally.progress import SILENT, Task
from bintally.training.diagnose.callback import read_findings
from bintally.training.diagnose.settings import DiagnoseSettings
from bintally.training.plan import training_state
from bintally.training.recipe import Recipe
from bintally.training.run import train
from bintally.training.run_log import FINDINGS, LOG
from tests.training.conftest import tiny_recipe


class Lines:
    """A `Progress` that keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def task(self, label: str, *, total: int | None, unit: str = "") -> Iterator[Task]:
        with SILENT.task(label, total=total, unit=unit) as task:
            yield task


class Killed(Callback):
    """Ends a training in the middle of its second epoch."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if trainer.global_step == 9:
            raise KeyboardInterrupt


def test_a_run_keeps_its_findings_and_says_one_of_a_rule_at_a_time(data: Path, tmp_path: Path) -> None:
    lines = Lines()
    watched = {"rules": ["Confusion", "WeightUpdateRatio"]}
    recipe = tiny_recipe(diagnose=watched, optimizer={"body_lr": 1e-13})
    train(recipe=recipe, data=data, out=tmp_path, progress=lines)
    findings = read_findings(tmp_path)
    assert {finding.rule for finding in findings} == {"Confusion", "WeightUpdateRatio"}
    small = next(finding for finding in findings if finding.rule == "WeightUpdateRatio")
    assert small.tensor.startswith("backbone.")
    assert small.step == 2
    said = {line.split()[0] for line in lines.said if " at step " in line}
    assert said == {"Confusion", "WeightUpdateRatio"}
    assert len([line for line in lines.said if " at step " in line]) < len(findings)


def test_a_finding_on_disk(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(diagnose={"rules": ["LossNotDecreasing"]}, optimizer={"body_lr": 1e-9, "head_lr": 1e-9})
    recipe = recipe.model_copy(update={"diagnose": DiagnoseSettings(rules=("WeightUpdateRatio",), every=1)})
    train(recipe=recipe, data=data, out=tmp_path)
    lines = (tmp_path / LOG / FINDINGS).read_text().split("\n")
    for line in filter(None, lines):
        row = json.loads(line)
        assert list(row) == ["rule", "step", "tensor", "value", "threshold", "message", "advice"]
        assert row["rule"] == "WeightUpdateRatio"
        assert isinstance(row["value"], float)


def test_an_exploding_loss_is_on_disk_before_it_ends_the_training(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(optimizer={"name": "sgd", "body_lr": 1e15, "head_lr": 1e15, "clip_norm": 0})
    with pytest.raises(TrainingError, match="became"):
        train(recipe=recipe, data=data, out=tmp_path)
    assert "ExplodingTensor" in {finding.rule for finding in read_findings(tmp_path)}


def test_a_finding_can_end_the_training_and_it_stays_ended(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(
        loop={"epochs": 4}, diagnose={"rules": ["WeightUpdateRatio"], "action": "stop"}, optimizer={"body_lr": 1e-13}
    )
    report = train(recipe=recipe, data=data, out=tmp_path)
    assert report.stopped_early
    assert len(report.history) == 1
    again = train(recipe=recipe, data=data, out=tmp_path)
    assert again.history == report.history
    assert again.stopped_early


def test_a_run_that_goes_on_says_nothing_twice(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(
        diagnose={"rules": ["WeightUpdateRatio"]}, optimizer={"body_lr": 1e-13}, loop={"checkpoint_minutes": 1e-6}
    )
    with pytest.raises(KeyboardInterrupt):
        train(recipe=recipe, data=data, out=tmp_path, callbacks=[Killed()])
    before = read_findings(tmp_path)
    report = train(recipe=recipe, data=data, out=tmp_path)
    assert report.resumed_at_step > 0
    assert before
    assert read_findings(tmp_path) == before
    train(recipe=recipe, data=data, out=tmp_path, fresh=True)
    assert read_findings(tmp_path) == before


@pytest.mark.parametrize(
    "sections", [{"network": {"tune": "head"}}, {"loop": {"average": 0.9}}, {"augment": {"mixup": 0.2}}]
)
def test_every_kind_of_training_can_be_watched(data: Path, tmp_path: Path, sections: dict[str, Any]) -> None:
    lines = Lines()
    train(
        recipe=tiny_recipe(diagnose={"rules": "all", "every": 1}, **sections), data=data, out=tmp_path, progress=lines
    )
    assert not [line for line in lines.said if "switched off" in line]


def test_settings_name_what_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"There is no rule 'DeadRelus'\. Did you mean 'DeadRelu'"):
        Recipe.of({"name": "r", "diagnose": {"rules": ["DeadRelus"]}})
    with pytest.raises(ConfigError, match=r"no parameter 'treshold'\. Did you mean 'threshold'"):
        Recipe.of({"name": "r", "diagnose": {"parameters": {"VanishingGradient": {"treshold": 1}}}})


def test_only_rules_that_may_stop_a_training_decide_its_weights() -> None:
    watching, stopping = tiny_recipe(diagnose={"rules": "all"}), tiny_recipe(diagnose={"action": "stop"})
    assert training_state(watching) == training_state(tiny_recipe())
    assert training_state(stopping) != training_state(tiny_recipe())
