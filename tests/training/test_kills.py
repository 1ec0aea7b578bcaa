"""Spot machines go without notice: a training killed again and again ends in the weights of one that was not."""

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file

from bintally.training.finished import RUN
from bintally.training.network import WEIGHTS
from bintally.training.recipe import Recipe
from bintally.training.run import train
from tests.training.conftest import tiny_recipe
from tests.training.forked import forked, get_ready

_HOOKS = (
    "on_train_batch_start",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_before_zero_grad",
    "on_train_batch_end",
    "on_validation_batch_start",
    "on_validation_end",
    "on_train_epoch_end",
    "on_save_checkpoint",
)


_ONCE_AN_EPOCH = ("on_validation_batch_start", "on_validation_end", "on_train_epoch_end")


def recipe(epochs: int) -> Recipe:
    """Everything random that a training has, and a checkpoint every few steps."""
    return tiny_recipe(
        augment={"mixup": 0.4, "cutmix": 1.0, "rotate": 5},
        loop={"epochs": epochs, "batch_size": 8, "average": 0.9, "checkpoint_minutes": 1e-4},
    )


class Kill(Callback):
    """Kills its process at a random moment: within a hook of the loop, or whatever it does some milliseconds later."""

    def __init__(self, seed: int) -> None:
        drawn = random.Random(seed)
        self._hook, self._calls = drawn.choice(_HOOKS), drawn.randint(1, 12)
        self._later_s = drawn.choice([0.0, drawn.uniform(0.0, 0.05)])
        if self._hook in _ONCE_AN_EPOCH:
            self._calls = 1
        for hook in _HOOKS:
            setattr(self, hook, lambda *_, hook=hook, **__: self._called(hook))

    def _called(self, hook: str) -> None:
        if hook != self._hook:
            return
        self._calls -= 1
        if self._calls == 0:
            if self._later_s:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends a process at once, as SIGKILL does
                signal.setitimer(signal.ITIMER_REAL, self._later_s)
            else:
                os.kill(os.getpid(), signal.SIGKILL)


def train_until_killed(data: Path, out: Path, epochs: int, seed: int) -> None:
    train(recipe=recipe(epochs), data=data, out=out, threads=1, callbacks=[Kill(seed)])


def _killed(data: Path, out: Path, epochs: int, seed: int) -> int:
    said = out.with_name("said")
    child = forked(train_until_killed, data, out, epochs, seed, stderr=said)
    child.join()
    assert child.exitcode is not None
    assert child.exitcode <= 0, said.read_text()
    return child.exitcode


@pytest.mark.parametrize(
    ("kills", "epochs", "seed"),
    [(3, 4, 1), pytest.param(20, 12, 2, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])],
)
def test_however_often_it_is_killed_nothing_differs(
    data: Path, tmp_path: Path, kills: int, epochs: int, seed: int
) -> None:
    get_ready()
    train(recipe=recipe(epochs), data=data, out=tmp_path / "straight", threads=1)
    died = 0
    for number in range(10 * kills):
        if died == kills or (tmp_path / "killed" / RUN).exists():
            break
        died += _killed(data, tmp_path / "killed", epochs, 1000 * seed + number) < 0
    assert died >= min(kills, 3), "it was hardly ever killed"
    report = train(recipe=recipe(epochs), data=data, out=tmp_path / "killed", threads=1)
    straight, killed = (load_file(tmp_path / name / WEIGHTS) for name in ("straight", "killed"))
    assert len(report.history) == epochs
    assert all(torch.equal(straight[name], killed[name]) for name in straight)


def test_kills_come_at_many_moments() -> None:
    hooks: set[Any] = {Kill(seed)._hook for seed in range(100)}
    assert hooks == set(_HOOKS)
