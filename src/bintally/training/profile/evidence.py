"""What the profiler's rules go by: a run folder's rows, in order."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bintally.artifacts import read_rows
from bintally.training.diagnose.finding import Finding
from bintally.training.profile.machine import Environment, read_environment
from bintally.training.run_log import (
    LOG,
    SYSTEM,
    VALIDATIONS,
    StepRow,
    SystemRow,
    ValidationRow,
    read_steps,
)


@dataclass(frozen=True)
class Evidence:
    """A run, finished or running, as its log tells it."""

    steps: Sequence[StepRow]
    validations: Sequence[ValidationRow]
    system: Sequence[SystemRow]
    environment: Environment | None

    @classmethod
    def read(cls, run: Path) -> "Evidence":
        """The rows of a run folder; empty where it has none."""
        return cls(
            steps=read_steps(run),
            validations=list(read_rows(run / LOG / VALIDATIONS, ValidationRow)),
            system=list(read_rows(run / LOG / SYSTEM, SystemRow)),
            environment=read_environment(run),
        )

    @property
    def gpus(self) -> int:
        """How many tell how busy they are."""
        return max((len(row.gpu_percent) for row in self.system), default=0)

    def step_at(self, at: float) -> int:
        """The step under way at a time; 0 before the first."""
        if not self.steps:
            return 0
        index = min(bisect_right(self.steps, at, key=lambda row: row.at), len(self.steps) - 1)
        return self.steps[index].step


class Rule(Protocol):
    """A profiler rule: its parameters are its fields."""

    def judge(self, evidence: Evidence) -> list[Finding]:
        """What it finds; nothing where it is content."""

    def lacks(self, evidence: Evidence) -> str:
        """Why it can say nothing of this run (yet), in a few words; empty where it can."""


def scans(rows: Sequence[SystemRow], *, patience: int, interval_us: float) -> Iterator[int]:
    """After how many rows a rule looks: each `interval_us` of the training, and at its end, once `patience` is over."""
    if not rows:
        return
    due = rows[0].at + interval_us / 1e6
    for count, row in enumerate(rows, start=1):
        if row.at >= due or count == len(rows):
            due = row.at + interval_us / 1e6
            if count > patience:
                yield count


def lacks_rows(evidence: Evidence, patience: int, *, gpus: int = 0) -> str:
    """What is missing of GPUs, or of looks at the machine."""
    if evidence.gpus < gpus:
        return "no GPU tells how busy it is" if gpus == 1 else "one GPU at most"
    if len(evidence.system) <= patience:
        return f"{len(evidence.system)} looks at the machine, {patience} are its patience"
    return ""
