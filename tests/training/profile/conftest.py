"""Rows made for rules, and a Lightning training that takes a second and can be made ill."""

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from bintally.artifacts import write_bytes
from bintally.training.loop import IGNORED
from bintally.training.profile.attach import profiled
from bintally.training.recipe import Recipe
from bintally.training.run_log import LOG, STEPS, SYSTEM, StepRow, Stream, SystemRow
from bintally.training.watch import LossWatch
from tests.training.conftest import tiny_recipe


class Numbers(Dataset[tuple[Tensor, Tensor]]):
    """Batches of 64, each of which takes `wait_s` to prepare."""

    def __init__(self, batches: int, wait_s: float = 0.0) -> None:
        self._batches, self._wait_s = batches, wait_s

    def __len__(self) -> int:
        return self._batches

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if self._wait_s:  # even none at all would give the core away
            time.sleep(self._wait_s)
        return torch.full((64, 8), index / 100), torch.arange(64) % 4


class Toy(pl.LightningModule):
    """Three layers that compute for a few milliseconds a step."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 4))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        return nn.functional.cross_entropy(self.layers(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        self.log("log_loss", nn.functional.cross_entropy(self.layers(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def train_toy(
    run: Path,
    *,
    batches: int = 60,
    epochs: int = 1,
    wait_s: float = 0.0,
    callbacks: Sequence[Callback] = (),
    prepare: Callable[[], object] = lambda: None,
    recipe: Recipe | None = None,
) -> float:
    """Trains it with our profiler; returns how long `fit` took."""
    started = time.monotonic()
    prepare()
    watch = LossWatch()
    with (
        profiled(run, recipe or tiny_recipe(), watch, started=started) as profilers,
        warnings.catch_warnings(),
    ):
        for text in IGNORED:
            warnings.filterwarnings("ignore", message=f".*{text}")
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            callbacks=[*callbacks, Feeds(watch), *profilers],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        fit_started = time.monotonic()
        trainer.fit(
            Toy(), DataLoader(Numbers(batches, wait_s), batch_size=None), DataLoader(Numbers(2), batch_size=None)
        )
        return time.monotonic() - fit_started


class Feeds(Callback):
    """What `loop.Keeper` does with losses."""

    def __init__(self, watch: LossWatch) -> None:
        self._watch = watch

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._watch.add(trainer.global_step - 1, outputs["loss"])
        if batch_idx + 1 == trainer.num_training_batches:
            self._watch.settle()


def system_row(at: float, **values: Any) -> SystemRow:
    """A look at an idle machine, but for `values`."""
    idle: dict[str, Any] = {
        "cpu_percent": 5.0,
        "process_percent": 5.0,
        "io_percent": 0.0,
        "read_mb_s": 0.0,
        "written_mb_s": 0.0,
        "rss_mb": 100.0,
        "memory_percent": 20.0,
    }
    return SystemRow(at=at, **(idle | values))


def step_row(step: int, seconds: dict[str, float], at: float | None = None) -> StepRow:
    """A step of ten photos."""
    ended = 1000.0 + step if at is None else at
    return StepRow(step=step, epoch=1, at=ended, loss=1.0, rate=0.1, photos=10, seconds=seconds)


def made_up_run(run: Path, *, system: Sequence[SystemRow] = (), steps: Sequence[StepRow] = ()) -> Path:
    """A run folder with these rows, which nobody has measured."""
    write_bytes(run / LOG / "made-up", b"")
    looks: Stream[SystemRow] = Stream(run / LOG / SYSTEM)
    for look in system:
        looks.write(look)
    looks.close()
    done: Stream[StepRow] = Stream(run / LOG / STEPS)
    for row in steps:
        done.write(row)
    done.close()
    return run
