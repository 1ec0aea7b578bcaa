"""SageMaker Debugger's rules about GPUs. Names, parameters and defaults are `smdebug_rulesconfig` 1.0's.

A look at the machine is one of its data points. Percentiles and histograms are over a GPU's own values.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bintally.training.diagnose.finding import Finding
from bintally.training.profile.evidence import Evidence, lacks_rows, scans
from bintally.training.run_log import SystemRow

SCAN_US: Final = 60_000_000


@dataclass(frozen=True, kw_only=True)
class _OverWindows:
    """Judges each GPU by the last `window` looks at it."""

    patience: int = 1000
    window: int = 500
    scan_interval_us: float = SCAN_US

    def lacks(self, evidence: Evidence) -> str:
        """GPUs, and looks."""
        return lacks_rows(evidence, self.patience, gpus=1)

    def judge(self, evidence: Evidence) -> list[Finding]:
        """One finding a GPU, at the first look that shows it."""
        return [found for gpu in range(evidence.gpus) if (found := self._of(gpu, evidence))]

    def _of(self, gpu: int, evidence: Evidence) -> Finding | None:
        raise NotImplementedError

    def _windows(self, evidence: Evidence) -> Iterator[Sequence[SystemRow]]:
        for count in scans(evidence.system, patience=self.patience, interval_us=self.scan_interval_us):
            yield evidence.system[max(count - self.window, 0) : count]


@dataclass(frozen=True, kw_only=True)
class BatchSize(_OverWindows):
    """Processor, GPU and the GPU's memory are all little used: batches could be larger."""

    cpu_threshold_p95: float = 70
    gpu_threshold_p95: float = 70
    gpu_memory_threshold_p95: float = 70

    def _of(self, gpu: int, evidence: Evidence) -> Finding | None:
        for rows in self._windows(evidence):
            cpu = float(np.percentile([row.cpu_percent for row in rows], 95))
            busy, memory = (float(np.percentile(values, 95)) for values in (_busy(rows, gpu), _memory(rows, gpu)))
            if (
                cpu < self.cpu_threshold_p95
                and busy < self.gpu_threshold_p95
                and memory < self.gpu_memory_threshold_p95
            ):
                return Finding(
                    rule="BatchSize",
                    step=evidence.step_at(rows[-1].at),
                    tensor=f"gpu {gpu}",
                    value=busy,
                    threshold=self.gpu_threshold_p95,
                    message=f"95% of the time GPU {gpu} is at most {busy:.0f}% busy and {memory:.0f}% full, and the "
                    f"processor {cpu:.0f}% busy: there is room for larger batches.",
                    advice="Raise loop.batch_size, and the learning rates with it; or take a smaller machine.",
                )
        return None


@dataclass(frozen=True, kw_only=True)
class LowGPUUtilization(_OverWindows):
    """A GPU is little used, or now and then not at all."""

    threshold_p95: float = 70
    threshold_p5: float = 10

    def _of(self, gpu: int, evidence: Evidence) -> Finding | None:
        for rows in self._windows(evidence):
            p5, p95 = (float(value) for value in np.percentile(_busy(rows, gpu), (5, 95)))
            if p95 < self.threshold_p95:
                value, threshold, said = p95, self.threshold_p95, f"is at most {p95:.0f}% busy 95% of the time"
            elif p5 < self.threshold_p5:
                value, threshold = p5, self.threshold_p5
                said = f"is up to {p95:.0f}% busy, and yet at most {p5:.0f}% for a twentieth of the time"
            else:
                continue
            return Finding(
                rule="LowGPUUtilization",
                step=evidence.step_at(rows[-1].at),
                tensor=f"gpu {gpu}",
                value=value,
                threshold=threshold,
                message=f"GPU {gpu} {said}.",
                advice="Look at what steps wait for: data (loop.workers), or the host (loop.cuda_graph).",
            )
        return None


@dataclass(frozen=True)
class GPUMemoryIncrease:
    """A GPU's memory fills: its moving average rises by more than `increase` points from one look to the next."""

    increase: float = 5
    patience: int = 1000
    window: int = 10
    scan_interval_us: float = SCAN_US

    def lacks(self, evidence: Evidence) -> str:
        """GPUs, and looks."""
        if not any(row.gpu_memory_percent for row in evidence.system):
            return "no GPU tells how full it is"
        return lacks_rows(evidence, max(self.patience, self.window + 1))

    def judge(self, evidence: Evidence) -> list[Finding]:
        """One finding a GPU, at the first look that shows it."""
        found = []
        for gpu in range(max((len(row.gpu_memory_percent) for row in evidence.system), default=0)):
            values = _memory(evidence.system, gpu)
            if len(values) <= self.window:
                continue
            averages = np.convolve(values, np.full(self.window, 1 / self.window), mode="valid")
            rises = np.diff(averages)
            ends = np.arange(self.window, len(values))  # the look that each rise comes with
            late = np.flatnonzero((rises > self.increase) & (ends >= self.patience))
            if not len(late):
                continue
            first = late[0]
            found.append(
                Finding(
                    rule="GPUMemoryIncrease",
                    step=evidence.step_at(evidence.system[ends[first]].at),
                    tensor=f"gpu {gpu}",
                    value=float(rises[first]),
                    threshold=self.increase,
                    message=f"The memory of GPU {gpu} fills: over {self.window} looks its mean rose by "
                    f"{rises[first]:.1f} points at once, to {averages[first + 1]:.0f}%.",
                    advice="Look for tensors that are kept with their graph from step to step; detach what is kept.",
                )
            )
        return found


@dataclass(frozen=True)
class LoadBalancing:
    """GPUs have unlike work: the Jensen-Shannon distance of two's histograms of use is above `threshold`.

    In natural logarithms, 0 (alike) to 0.83.
    """

    threshold: float = 0.5
    patience: int = 1000
    scan_interval_us: float = SCAN_US

    def lacks(self, evidence: Evidence) -> str:
        """Two GPUs, and looks."""
        return lacks_rows(evidence, self.patience, gpus=2)

    def judge(self, evidence: Evidence) -> list[Finding]:
        """One finding a pair of GPUs, over all looks."""
        histograms = [
            np.histogram(_busy(evidence.system, gpu), np.arange(0, 102, 2))[0] for gpu in range(evidence.gpus)
        ]
        found = []
        for one, other in combinations(range(evidence.gpus), 2):
            distance = _distance(histograms[one], histograms[other])
            if distance > self.threshold:
                means = [_busy(evidence.system, gpu).mean() for gpu in (one, other)]
                found.append(
                    Finding(
                        rule="LoadBalancing",
                        step=evidence.step_at(evidence.system[-1].at),
                        tensor=f"gpu {one}, gpu {other}",
                        value=distance,
                        threshold=self.threshold,
                        message=f"GPUs {one} and {other} have unlike work: {means[0]:.0f}% and {means[1]:.0f}% busy on "
                        f"average, their histograms {distance:.2f} apart.",
                        advice="Give each process as many photos of each batch, and let no other program use a GPU.",
                    )
                )
        return found


def _distance(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    p, q = (counts / max(counts.sum(), 1) for counts in (one, other))
    middle = (p + q) / 2
    return float(np.sqrt(max((_divergence(p, middle) + _divergence(q, middle)) / 2, 0.0)))


def _divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    some = p > 0
    return float((p[some] * np.log(p[some] / q[some])).sum())


def _busy(rows: Sequence[SystemRow], gpu: int) -> NDArray[np.float64]:
    return np.array([row.gpu_percent[gpu] for row in rows if gpu < len(row.gpu_percent)])


def _memory(rows: Sequence[SystemRow], gpu: int) -> NDArray[np.float64]:
    return np.array([row.gpu_memory_percent[gpu] for row in rows if gpu < len(row.gpu_memory_percent)])
