"""SageMaker Debugger's rules about the host: its processor, its disk, its loader, its steps, its start.

Names, parameters and defaults are `smdebug_rulesconfig` 1.0's and, for Dataloader, smdebug's. What is ours: where there
is no GPU, `IOBottleneck` takes the training's own use of the processor for the device's; and `Dataloader` blames few
loader processes only where steps wait for data (`waiting`; 0: whether they do or not, as the original).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from bintally.training.diagnose.finding import Finding
from bintally.training.profile.evidence import Evidence, lacks_rows, scans
from bintally.training.run_log import StepRow, SystemRow

SCAN_US: Final = 60_000_000
_ENOUGH_STEPS: Final = 100  # smdebug's: fewer steps have no deviation to speak of


@dataclass(frozen=True)
class CPUBottleneck:
    """Most of the time a GPU waits while the processor is as busy as can be.

    A training on the processor is to keep it busy, so that without a GPU there is nothing to say.
    """

    threshold: float = 50
    gpu_threshold: float = 10
    cpu_threshold: float = 90
    patience: int = 1000
    scan_interval_us: float = SCAN_US

    def lacks(self, evidence: Evidence) -> str:
        """GPUs, and looks."""
        return lacks_rows(evidence, self.patience, gpus=1)

    def judge(self, evidence: Evidence) -> list[Finding]:
        """One finding, at the first look that shows it."""

        def ails(row: SystemRow) -> bool:
            low = any(busy < self.gpu_threshold for busy in row.gpu_percent)
            return low and row.cpu_percent > self.cpu_threshold

        share = _share(evidence, ails, self.threshold, self.patience, self.scan_interval_us)
        if share is None:
            return []
        return [
            Finding(
                rule="CPUBottleneck",
                step=share[0],
                tensor="processor",
                value=share[1],
                threshold=self.threshold,
                message=f"{share[1]:.0f}% of the time the processor is over {self.cpu_threshold:.0f}% busy while a GPU "
                f"is below {self.gpu_threshold:.0f}%: it can't keep up.",
                advice="Decode less: a smaller input.cache_px, fewer augmentations; or take a machine with more cores.",
            )
        ]


@dataclass(frozen=True)
class IOBottleneck:
    """Most of the time the device waits while something waits for the disk."""

    threshold: float = 50
    gpu_threshold: float = 10
    io_threshold: float = 50
    patience: int = 1000
    scan_interval_us: float = SCAN_US

    def lacks(self, evidence: Evidence) -> str:
        """A system that tells of waiting, and looks."""
        if evidence.system and all(row.io_percent is None for row in evidence.system):
            return "this system does not tell who waits for the disk"
        return lacks_rows(evidence, self.patience)

    def judge(self, evidence: Evidence) -> list[Finding]:
        """One finding, at the first look that shows it."""

        def ails(row: SystemRow) -> bool:
            low = min(row.gpu_percent or (row.process_percent,)) < self.gpu_threshold
            return low and row.io_percent is not None and row.io_percent > self.io_threshold

        share = _share(evidence, ails, self.threshold, self.patience, self.scan_interval_us)
        if share is None:
            return []
        device = "a GPU" if evidence.gpus else "the training's own use of the processor"
        return [
            Finding(
                rule="IOBottleneck",
                step=share[0],
                tensor="disk",
                value=share[1],
                threshold=self.threshold,
                message=f"{share[1]:.0f}% of the time the disk is waited for while {device} is below "
                f"{self.gpu_threshold:.0f}%.",
                advice="Free memory, so that the photo cache needs no disk; or move the data to a local, faster disk.",
            )
        ]


def _share(
    evidence: Evidence, ails: Callable[[SystemRow], bool], threshold: float, patience: int, interval_us: float
) -> tuple[int, float] | None:
    """(step, percent of the looks so far) when `threshold` percent is first passed."""
    ill = np.cumsum([ails(row) for row in evidence.system])
    for count in scans(evidence.system, patience=patience, interval_us=interval_us):
        percent = 100 * float(ill[count - 1]) / count
        if percent > threshold:
            return evidence.step_at(evidence.system[count - 1].at), percent
    return None


@dataclass(frozen=True)
class Dataloader:
    """Loader processes are far fewer or more than there are cores."""

    min_threshold: float = 70
    max_threshold: float = 200
    patience: int = 10
    waiting: float = 10
    """Few are too few where at least this percentage of the steps' time is spent waiting for data."""
    scan_interval_us: float = SCAN_US

    def lacks(self, evidence: Evidence) -> str:
        """The machine's description, and steps."""
        if evidence.environment is None:
            return "the log does not describe the machine"
        if len(evidence.steps) <= self.patience:
            return f"{len(evidence.steps)} steps, {self.patience} are its patience"
        return ""

    def judge(self, evidence: Evidence) -> list[Finding]:
        """One finding at most."""
        here = evidence.environment
        if here is None or self.lacks(evidence):
            return []
        loaders = here.loader_processes * here.processes
        percent = 100 * loaders / here.cores
        whole = sum(row.duration_s for row in evidence.steps) or 1.0
        waited = 100 * sum(row.seconds.get("data", 0.0) for row in evidence.steps) / whole
        told = f"There are {loaders} loader processes for {here.cores:g} cores"
        if percent > self.max_threshold:
            threshold, message = self.max_threshold, f"{told}: they are in each other's way."
            advice = f"Lower loop.workers to {int(here.cores / here.processes)} or less."
        elif percent < self.min_threshold and waited >= self.waiting:
            threshold, message = self.min_threshold, f"{told}, and steps wait for data {waited:.0f}% of their time."
            advice = "Raise loop.workers, if cores are idle; else make photos cheaper to prepare."
        else:
            return []
        return [
            Finding(
                rule="Dataloader",
                step=evidence.steps[-1].step,
                tensor="loader",
                value=percent,
                threshold=threshold,
                message=message,
                advice=advice,
            )
        ]


@dataclass(frozen=True)
class StepOutlier:
    """More than `n_outliers` steps take longer than the mean and `stddev` standard deviations.

    `mode`: "train" looks at steps alone, "eval" at passes over val; none: at both. A step's time is without the
    validation that follows it.
    """

    stddev: float = 3
    mode: str | None = None
    n_outliers: int = 10
    scan_interval_us: float = SCAN_US

    def lacks(self, evidence: Evidence) -> str:
        """Steps enough for a deviation."""
        most = max((len(durations) for _, durations in self._modes(evidence)), default=0)
        return "" if most > _ENOUGH_STEPS else f"{most} steps, {_ENOUGH_STEPS} have no deviation to speak of"

    def judge(self, evidence: Evidence) -> list[Finding]:
        """One finding for steps, one for passes over val."""
        found = []
        for name, durations in self._modes(evidence):
            values = np.array([seconds for _, seconds in durations])
            if len(values) <= _ENOUGH_STEPS:
                continue
            limit = float(values.mean() + self.stddev * values.std())
            slow = [durations[i][0] for i in np.flatnonzero(values > limit)]
            if len(slow) > self.n_outliers:
                why = f" What they do longer: {_longer(evidence.steps, set(slow))}." if name == "train" else ""
                found.append(
                    Finding(
                        rule="StepOutlier",
                        step=slow[0],
                        tensor="steps" if name == "train" else "validation",
                        value=float(len(slow)),
                        threshold=float(self.n_outliers),
                        message=f"{len(slow)} of {len(values)} take longer than {1000 * limit:.0f} ms, the mean "
                        f"({1000 * values.mean():.0f} ms) and {self.stddev:g} standard deviations.{why}",
                        advice="Look at those steps in the report: what recurs has a cause (checkpoints, a full "
                        "memory, another program).",
                    )
                )
        return found

    def _modes(self, evidence: Evidence) -> list[tuple[str, list[tuple[int, float]]]]:
        modes = {
            "train": [(row.step, row.duration_s) for row in evidence.steps],
            "eval": [(row.step, row.seconds) for row in evidence.validations],
        }
        return [(name, rows) for name, rows in modes.items() if self.mode in (None, name)]


def _longer(steps: Sequence[StepRow], slow: set[int]) -> str:
    """The phase that slow steps spend most additional time in."""
    phases = {name for row in steps for name in row.seconds if ":" not in name} - {"validation"}

    def mean(name: str, *, of_slow: bool) -> float:
        return float(np.mean([row.seconds.get(name, 0.0) for row in steps if (row.step in slow) == of_slow]))

    excess = {name: mean(name, of_slow=True) - mean(name, of_slow=False) for name in sorted(phases)}
    phase = max(excess, key=lambda name: excess[name])
    return f"{phase} ({1000 * excess[phase]:+.0f} ms)"


@dataclass(frozen=True)
class MaxInitializationTime:
    """The first step begins later than `threshold` minutes after the training."""

    threshold: float = 20
    scan_interval_us: float = SCAN_US

    def lacks(self, evidence: Evidence) -> str:
        """When it began."""
        return "" if evidence.environment is not None else "the log does not tell when the training began"

    def judge(self, evidence: Evidence) -> list[Finding]:
        """One finding at most; of a training without steps, by the last look at the machine."""
        here = evidence.environment
        if here is None:
            return []
        first = next((row for row in evidence.steps if row.at > here.started_at), None)
        if first is not None:
            begun = first.at - first.duration_s - first.seconds.get("validation", 0.0)
        elif evidence.system:
            begun = evidence.system[-1].at
        else:
            return []
        minutes = (begun - here.started_at) / 60
        if minutes <= self.threshold:
            return []
        return [
            Finding(
                rule="MaxInitializationTime",
                step=0 if first is None else first.step,
                tensor="start",
                value=minutes,
                threshold=self.threshold,
                message=f"It took {minutes:.1f} minutes until the first step.",
                advice="Photos are decoded once into DATA/cache: keep it between trainings, or lower input.cache_px.",
            )
        ]
