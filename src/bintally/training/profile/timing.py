"""Each step's time by phase, each pass over val, and each loss, as rows of the run's log.

A step lasts from the fetch of its batch to the fetch of the next: callbacks, checkpoints and validation after it are
its own, so that rows sum to the training's time.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import Profiler

from bintally.training import ranks
from bintally.training.profile.device_clock import (
    CudaClock,
    DeviceClock,
    Mark,
    Segment,
    device_seconds,
    host_seconds,
)
from bintally.training.profile.spans import Spans
from bintally.training.run_log import LOG, PHASES, STEPS, VALIDATIONS, StepRow, Stream, ValidationRow
from bintally.training.watch import LossWatch

_SMALL: Final = 0.002
"""Parts below this share of a step are not named."""


@dataclass
class _Step:
    """A step that is being done, or waits for its loss or for the device."""

    step: int
    epoch: int
    rate: float
    photos: int
    at: float = 0.0
    segments: Sequence[Segment] = ()
    marks: Sequence[Mark] = ()


class StepTimer(Callback):
    """Writes `RUN/log/steps.jsonl` and `validations.jsonl` of a Lightning training.

    `watch` is who fetches the losses; without one, it fetches them itself, once a second. Only the first of several
    processes writes. Nothing that decides weights is touched.
    """

    def __init__(self, run: Path, *, watch: LossWatch | None = None, device: DeviceClock | None = None) -> None:
        self._run, self._device = run, device
        self._watch = watch or LossWatch()
        self._feeds_watch = watch is None
        self._losses: dict[int, float] = {}
        self._waiting: deque[_Step] = deque()
        self._open: _Step | None = None
        self._spans: Spans | None = None
        self._replaced: Profiler | None = None
        self._validation_started = 0.0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Takes the place of the trainer's profiler."""
        if stage != "fit" or not trainer.is_global_zero:
            return
        self._trainer = trainer
        self._steps: Stream[StepRow] = Stream(self._run / LOG / STEPS)
        self._validations: Stream[ValidationRow] = Stream(self._run / LOG / VALIDATIONS)
        if self._device is None and trainer.strategy.root_device.type == "cuda":
            self._device = CudaClock()
        ours = frozenset(_name(callback) for callback in _callbacks(trainer) if _is_ours(callback))
        self._spans = Spans(self._close, ours=ours, device=self._device)
        self._spans.watch_garbage()
        self._watch.listeners.append(self._know)
        self._replaced, trainer.profiler = trainer.profiler, self._spans  # type: ignore[attr-defined]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """A step begins, unless this batch's gradients are added to those of the batch before."""
        if self._spans is None:
            return
        photos = _photos(batch) * ranks.world()
        if self._open is not None and self._open.step == trainer.global_step:
            self._open.photos += photos
            return
        rate = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else 0.0
        self._open = _Step(trainer.global_step, trainer.current_epoch + 1, float(rate), photos)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Its loss, where nobody else takes care of it."""
        if self._spans is not None and self._feeds_watch and outputs:
            self._watch.add(trainer.global_step - 1, outputs["loss"])

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Looks at the clock."""
        self._validation_started = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A line about the epoch."""
        if self._spans is None or trainer.sanity_checking:
            return
        row = ValidationRow(
            epoch=trainer.current_epoch + 1,
            step=trainer.global_step - 1,
            at=time.time(),
            seconds=time.monotonic() - self._validation_started,
            figures={name: float(value) for name, value in trainer.callback_metrics.items()},
        )
        self._validations.write(row)
        self._validations.flush()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """What the checkpoint holds is never done again: its rows must be on their way before it is written."""
        if self._spans is None:
            return
        self._write_settled(wait=False)
        if self._open is not None and self._open.step in self._losses:
            segments, _ = self._spans.peek()
            for step in self._waiting:  # the device is behind: as the host saw them, until it is known better
                self._write(step, host_seconds(step.segments))
            self._open.at = time.time()
            self._write(self._open, host_seconds(segments))
        self._steps.flush()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The last step has nothing after it."""
        if self._spans is not None:
            if self._feeds_watch:
                self._watch.settle()
            self._close()
            self._write_settled(wait=True)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """What is known is written."""
        self._leave(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """All as it was."""
        self._leave(trainer)

    def _leave(self, trainer: pl.Trainer) -> None:
        if self._spans is None:
            return
        self._write_settled(wait=False)
        self._spans.unwatch_garbage()
        self._watch.listeners.remove(self._know)
        trainer.profiler = self._replaced  # type: ignore[attr-defined]
        self._steps.close()
        self._validations.close()
        self._spans = None

    def _know(self, step: int, loss: float) -> None:
        self._losses[step] = loss

    def _close(self) -> None:
        """The next batch is asked for, or there is none: the step before is over."""
        if self._open is None or self._spans is None or self._trainer.global_step <= self._open.step:
            return
        self._open.segments, self._open.marks = self._spans.take()
        self._open.at = time.time()
        self._waiting.append(self._open)
        self._open = None
        self._write_settled(wait=False)

    def _write_settled(self, *, wait: bool) -> None:
        """The rows whose loss and time are known, in order."""
        while self._waiting and self._waiting[0].step in self._losses:
            step = self._waiting[0]
            if self._device is None:
                seconds: dict[str, float] | None = host_seconds(step.segments)
            else:
                seconds = device_seconds(step.segments, step.marks, self._device)
            if seconds is None and wait:
                torch.cuda.synchronize()
                seconds = device_seconds(step.segments, step.marks, self._device) if self._device else None
            if seconds is None:
                return
            self._write(step, seconds)
            self._losses.pop(step.step)
            self._waiting.popleft()

    def _write(self, step: _Step, seconds: dict[str, float]) -> None:
        self._steps.write(
            StepRow(
                step=step.step,
                epoch=step.epoch,
                at=step.at,
                loss=self._losses[step.step],
                rate=step.rate,
                photos=step.photos,
                seconds=with_totals(seconds),
            )
        )


def with_totals(seconds: dict[str, float]) -> dict[str, float]:
    """`seconds` by name, parts too small to matter left out, and before them each phase's whole."""
    totals = dict.fromkeys(PHASES, 0.0)
    for name, value in seconds.items():
        totals[name.partition(":")[0]] += value
    least = _SMALL * sum(totals.values())
    parts = {name: value for name, value in seconds.items() if ":" in name and value > least}
    return {name: round(value, 7) for name, value in (totals | parts).items() if value}


def _callbacks(trainer: pl.Trainer) -> list[Callback]:
    return list(trainer.callbacks)  # type: ignore[attr-defined]


def _is_ours(callback: Callback) -> bool:
    return type(callback).__module__.partition(".")[0] == __name__.partition(".")[0]


def _name(callback: Callback) -> str:
    return callback.state_key.partition("{")[0]


def _photos(batch: Any) -> int:
    """(photos, labels, ...), or photos alone."""
    return len(batch[1] if isinstance(batch, (tuple, list)) and len(batch) > 1 else batch)
