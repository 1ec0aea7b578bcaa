"""What a run's log tells step by step, thinned to what a plot can show."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from bintally.artifacts import Row, read_rows
from bintally.registry.registration.run_files import RunFiles

LOG: Final = "log"
POINTS: Final = 300  # of a curve


class Point(msgspec.Struct, frozen=True):
    """One point of a curve. `at_ms`: Unix time."""

    key: str
    value: float
    at_ms: int
    step: int


class _Step(msgspec.Struct, frozen=True):
    """What we want to know of a line of steps.jsonl."""

    step: int
    at: float
    loss: float | None
    rate: float
    photos: int
    seconds: dict[str, float]


class _Validation(msgspec.Struct, frozen=True):
    """And of validations.jsonl."""

    epoch: int
    at: float


class _System(msgspec.Struct, frozen=True):
    """And of system.jsonl. Percentages 0..100."""

    at: float
    cpu_percent: float
    memory_percent: float
    rss_mb: float
    gpu_percent: tuple[float, ...] = ()
    gpu_memory_percent: tuple[float, ...] = ()


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """The streams of a run's log; each step once, as it was done last."""

    steps: tuple[_Step, ...]
    validations: tuple[_Validation, ...]
    system: tuple[_System, ...]

    @classmethod
    def read(cls, run: Path) -> "Log":
        """The log of the run in that folder; empty streams where there is none."""
        steps = {row.step: row for row in read_rows(run / LOG / "steps.jsonl", _Step)}
        return cls(
            steps=tuple(steps[step] for step in sorted(steps)),
            validations=tuple(read_rows(run / LOG / "validations.jsonl", _Validation)),
            system=tuple(read_rows(run / LOG / "system.jsonl", _System)),
        )

    @property
    def ended_at(self) -> float | None:
        """Unix time of the last line."""
        return max((stream[-1].at for stream in (self.steps, self.validations, self.system) if stream), default=None)


def points(files: RunFiles, log: Log, *, ended_ms: int) -> list[Point]:
    """All curves of a run: by epoch, by step, of the machine; and the kept epoch's figures, at its step."""
    return [
        *_epochs(files, {row.epoch: round(1e3 * row.at) for row in log.validations}, ended_ms),
        *_kept(files.report, ended_ms),
        *_steps(log.steps),
        *_machine(log.system),
    ]


def is_figure(value: object) -> bool:
    """Whether a value is a number that can be plotted."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def safe(key: str) -> str:
    """A name with no letter that MLflow refuses."""
    return re.sub(r"[^\w. :/-]", "_", key, flags=re.ASCII)


def _epochs(files: RunFiles, at_ms: Mapping[int, int], ended_ms: int) -> Iterator[Point]:
    """A run of before there were logs has no times: they are all its end."""
    for row in files.report.get("history", ()):
        epoch = int(row.get("epoch") or 0)
        for name, value in row.items():
            if name != "epoch" and is_figure(value):
                yield Point(safe(f"epoch/{name}"), value, at_ms.get(epoch, ended_ms), epoch)


def _kept(report: Mapping[str, Any], ended_ms: int) -> Iterator[Point]:
    best = report.get("best") or {}
    told = {safe(f"kept/{name}"): value for name, value in best.items() if name != "seconds"}
    told |= {
        "kept/accuracy_blind": report.get("blind_accuracy"),
        "training/seconds": report.get("seconds"),
        "training/photos_per_s": report.get("photos_per_s"),
    }
    for key, value in told.items():
        if is_figure(value):
            yield Point(key, float(value), ended_ms, int(best.get("epoch") or 0))


def _steps(rows: Sequence[_Step]) -> Iterator[Point]:
    """Means over as many steps as one point stands for."""
    for window in _windows(rows):
        last = window[-1]
        at_ms = round(1e3 * last.at)
        losses = [row.loss for row in window if row.loss is not None]
        seconds = sum(value for row in window for name, value in row.seconds.items() if ":" not in name)
        if losses:
            yield Point("step/loss", sum(losses) / len(losses), at_ms, last.step)
        yield Point("step/rate", last.rate, at_ms, last.step)
        if seconds > 0:
            yield Point("step/photos_per_s", sum(row.photos for row in window) / seconds, at_ms, last.step)


def _machine(rows: Sequence[_System]) -> Iterator[Point]:
    """Under the names that MLflow's page has a tab for."""
    for number, window in enumerate(_windows(rows)):
        last = window[-1]
        told = {
            "cpu_utilization_percentage": _mean(row.cpu_percent for row in window),
            "system_memory_usage_percentage": _mean(row.memory_percent for row in window),
            "process_memory_usage_megabytes": _mean(row.rss_mb for row in window),
        }
        for gpu, percent in enumerate(last.gpu_percent):
            told[f"gpu_{gpu}_utilization_percentage"] = percent
        for gpu, percent in enumerate(last.gpu_memory_percent):
            told[f"gpu_{gpu}_memory_usage_percentage"] = percent
        for name, value in told.items():
            yield Point(f"system/{name}", value, round(1e3 * last.at), number)


def _mean(values: Iterable[float]) -> float:
    held = list(values)
    return sum(held) / len(held)


def _windows(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    size = -(-len(rows) // POINTS) or 1
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
