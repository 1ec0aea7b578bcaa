"""What a training leaves behind while it runs: append-only streams of JSON lines in `RUN/log/`.

```
RUN/log/steps.jsonl        a line a step: loss, rate, and where its time went
RUN/log/validations.jsonl  a line a validation: the epoch's figures, and its time
RUN/log/system.jsonl       a line a sample: processor, memory, disk, GPU
RUN/log/findings.jsonl     a line a finding of a rule
RUN/log/environment.json   machine and versions
```

Whoever reads takes a torn line for none, and of two lines about one step the later: a run that went on after a kill
does steps over. Nothing here decides weights, and nothing is read back by a training.
"""

import time
from pathlib import Path
from typing import Final, Generic

import msgspec

from bintally.artifacts import Row, read_rows

LOG: Final = "log"
STEPS: Final = "steps.jsonl"
VALIDATIONS: Final = "validations.jsonl"
SYSTEM: Final = "system.jsonl"
FINDINGS: Final = "findings.jsonl"
ENVIRONMENT: Final = "environment.json"

PHASES: Final = ("data", "transfer", "forward", "backward", "optimizer", "logging", "validation", "other")

_COMPARED: Final = tuple(phase for phase in PHASES if phase != "validation")
_FLUSH_S: Final = 1.0


class StepRow(msgspec.Struct, frozen=True, kw_only=True):
    """One optimizer step: from the fetch of its batch to the fetch of the next, or to the training's end.

    `seconds` by phase (`PHASES`; what took none is left out) sum to all of that time: nothing is left out, and all
    rows sum to the training's time. The first step of a session holds its start too.

    data: waiting for a batch. transfer: to the device. forward: of the network and its teachers, with the loss.
    backward. optimizer: its step, clipping, the rate's schedule, the weights' average. logging: ours, i.e. bintally's
    callbacks (rules, profiler, progress) and checkpoints. validation: the pass over val that follows the step. other:
    whatever else.

    Keys with a colon are parts of the phase before it, and in no sum: "other:gc" (Python's collector), "other:callback
    NAME" (others' callbacks), "other:hook NAME" (the module's), "other:start" (what precedes a session's first fetch),
    "other:unexplained" (what belongs to nobody), "logging:NAME" (a callback of ours), "logging:checkpoint",
    "validation:forward" ... Parts that take too little of a step have no key.

    On a GPU these are its own times: what the host does while the device computes costs nothing, and where the device
    waits, it is for what the host did just before it went on.
    """

    step: int
    """From 0, counted over all epochs."""
    epoch: int
    """From 1."""
    at: float
    """When it ended, Unix time."""
    loss: float | None
    """None where it was no number, or infinite."""
    rate: float
    """Learning rate of the first parameter group."""
    photos: int
    seconds: dict[str, float]

    @property
    def duration_s(self) -> float:
        """All of it but the validation that follows it, and a session's start: what can be compared between steps."""
        seconds = self.seconds  # of a million steps: no generator
        whole = 0.0
        for phase in _COMPARED:
            if phase in seconds:
                whole += seconds[phase]
        return whole - seconds.get("other:start", 0.0)


class ValidationRow(msgspec.Struct, frozen=True, kw_only=True):
    """One pass over val."""

    epoch: int
    step: int
    at: float
    seconds: float
    figures: dict[str, float]


class SystemRow(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the machine. Percentages 0..100; None where this machine can't say."""

    at: float
    cpu_percent: float
    """Of all cores this process may use."""
    process_percent: float
    """Of this process and its children, on the same scale."""
    io_percent: float | None
    """Share of time with a core waiting for the disk."""
    read_mb_s: float
    written_mb_s: float
    rss_mb: float
    memory_percent: float
    gpu_percent: tuple[float, ...] = ()
    gpu_memory_percent: tuple[float, ...] = ()


class Stream(Generic[Row]):
    """Appends rows to a file, flushed about once a second; a run that died leaves all but the last second."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        if self._file.tell():
            self._file.write(b"\n")  # after a torn line; an empty one is skipped
        self._encoder = msgspec.json.Encoder()
        self._flushed_at = time.monotonic()

    def write(self, row: Row) -> None:
        """One more line."""
        self._file.write(self._encoder.encode(row) + b"\n")
        if time.monotonic() - self._flushed_at > _FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Hands all lines to the system."""
        self._file.flush()
        self._flushed_at = time.monotonic()

    def close(self) -> None:
        """The last line is written."""
        self._file.close()


def read_steps(run: Path) -> list[StepRow]:
    """A run's steps in order, each once: as it was done last."""
    return [row for _, row in sorted({row.step: row for row in read_rows(run / LOG / STEPS, StepRow)}.items())]
