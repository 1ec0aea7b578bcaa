"""A few steps' operators, by `torch.profiler`: `RUN/profile/operators.json` and a trace for Perfetto.

```
RUN/profile/operators.json   a table: operator, input shapes, calls, time on the CPU and on the GPU
RUN/profile/trace.json.gz    the same steps on a timeline; ui.perfetto.dev and chrome://tracing open it
```
"""

import os
from pathlib import Path
from typing import Any, Final

import lightning.pytorch as pl
import msgspec
import torch
from lightning.pytorch.callbacks import Callback
from torch.profiler import ProfilerActivity, profile, schedule

from bintally.artifacts import write_bytes, write_json
from bintally.records import to_plain

PROFILE: Final = "profile"
OPERATORS: Final = "operators.json"
TRACE: Final = "trace.json.gz"


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """One operator on inputs of one shape. `self` times leave out the operators it calls."""

    name: str
    shapes: str
    """Of its inputs, e.g. "[16, 3, 64, 64], [32, 3, 3, 3]"."""
    calls: int
    self_cpu_ms: float
    cpu_ms: float
    self_gpu_ms: float
    gpu_ms: float
    share: float
    """Of all self time, on the GPU where there is one, else on the CPU; 0..1."""


class OperatorRecorder(Callback):
    """Records `active` steps after `wait` others and `warm` that pay for the recorder's own start."""

    def __init__(self, run: Path, *, wait: int = 2, warm: int = 1, active: int = 3) -> None:
        self._folder = run / PROFILE
        self._steps = {"wait": wait, "warmup": warm, "active": active}
        self._recorder: profile | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begins to count steps."""
        if not trainer.is_global_zero:
            return
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # its recorder writes to stderr by itself
        self._recorder = profile(
            activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])],
            schedule=schedule(**self._steps, repeat=1),
            on_trace_ready=self._write,
            record_shapes=True,
        )
        self._recorder.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One more."""
        if self._recorder is not None:
            self._recorder.step()
            if self._recorder.step_num >= sum(self._steps.values()):
                self._stop()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A training shorter than that shows what it has."""
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """The recorder must not outlive the training."""
        self._stop()

    def _stop(self) -> None:
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.stop()

    def _write(self, recorder: profile) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(self._folder / OPERATORS, to_plain(_table(recorder)))
        part = self._folder / f".{TRACE}"
        recorder.export_chrome_trace(str(part))  # zipped, by its name's ending
        write_bytes(self._folder / TRACE, part.read_bytes())
        part.unlink()


def read_operators(run: Path) -> tuple[Operator, ...]:
    """The recorded operators, most self time first; none where none were recorded."""
    table = run / PROFILE / OPERATORS
    return msgspec.json.decode(table.read_bytes(), type=tuple[Operator, ...]) if table.is_file() else ()


def _table(recorder: profile) -> list[Operator]:
    rows = recorder.key_averages(group_by_input_shape=True)
    on_gpu = any(row.self_device_time_total for row in rows)
    spent = {id(row): float(row.self_device_time_total if on_gpu else row.self_cpu_time_total) for row in rows}
    whole = sum(spent.values()) or 1.0
    return [
        Operator(
            name=row.key,
            shapes=", ".join(str(shape) for shape in row.input_shapes or [] if shape),
            calls=row.count,
            self_cpu_ms=round(row.self_cpu_time_total / 1000, 4),
            cpu_ms=round(row.cpu_time_total / 1000, 4),
            self_gpu_ms=round(row.self_device_time_total / 1000, 4),
            gpu_ms=round(row.device_time_total / 1000, 4),
            share=round(spent[id(row)] / whole, 5),
        )
        for row in sorted(rows, key=lambda row: -spent[id(row)])
    ]
