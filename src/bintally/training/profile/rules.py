"""SageMaker Debugger's profiler rules over a run folder's rows, with both sets of defaults that Amazon published.

"code": `smdebug_rulesconfig` 1.0 (github.com/awslabs/sagemaker-debugger-rulesconfig). "guide": where the SageMaker
developer guide (List of Debugger built-in profiler rules, February 2023) names other values. What the originals report
to a server while a training runs is told here of any run folder, finished or running.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np

from bintally.errors import ConfigError, did_you_mean
from bintally.training.diagnose.finding import Finding
from bintally.training.profile.evidence import Evidence, Rule
from bintally.training.profile.gpu_rules import BatchSize, GPUMemoryIncrease, LoadBalancing, LowGPUUtilization
from bintally.training.profile.host_rules import (
    CPUBottleneck,
    Dataloader,
    IOBottleneck,
    MaxInitializationTime,
    StepOutlier,
)
from bintally.training.run_log import SystemRow

Defaults = Literal["code", "guide"]

RULES: Final[tuple[type[Rule], ...]] = (
    BatchSize,
    CPUBottleneck,
    Dataloader,
    GPUMemoryIncrease,
    IOBottleneck,
    LoadBalancing,
    LowGPUUtilization,
    MaxInitializationTime,
    StepOutlier,
)

GUIDE: Final[Mapping[str, Mapping[str, float]]] = {
    "BatchSize": {"patience": 100},
    "CPUBottleneck": {"patience": 100},
    "GPUMemoryIncrease": {"increase": 10, "window": 500, "patience": 100},
    "IOBottleneck": {"gpu_threshold": 70},
    "LoadBalancing": {"patience": 10},
    "StepOutlier": {"stddev": 5},
}

USAGE: Final = "OverallSystemUsage"


class Verdict(msgspec.Struct, frozen=True):
    """What one rule says of a run."""

    rule: str
    means: str
    """What it means when it fires."""
    parameters: dict[str, Any]
    findings: tuple[Finding, ...]
    lacks: str
    """Why it can't judge this run (yet); empty where it has."""


class Spread(msgspec.Struct, frozen=True):
    """How a figure of the machine is spread over a training."""

    min: float
    p50: float
    p95: float
    p99: float
    max: float


class ProfilerReport(msgspec.Struct, frozen=True):
    """All rules on one run."""

    verdicts: tuple[Verdict, ...]
    usage: dict[str, Spread]
    """OverallSystemUsage: percentages, by what they are of; it has no threshold, and never fires."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the rules that fired found."""
        return tuple(found for verdict in self.verdicts for found in verdict.findings)


def profile_rules(
    run: Path, *, defaults: Defaults = "code", parameters: Mapping[str, Any] | None = None
) -> tuple[Finding, ...]:
    """What all rules find in `run`, finished or running; `parameters` as in `judged`.

    Raises:
        ConfigError: no such rule, or it has no such parameter.
    """
    return profiler_report(run, defaults=defaults, parameters=parameters).findings


def profiler_report(
    run: Path, *, defaults: Defaults = "code", parameters: Mapping[str, Any] | None = None
) -> ProfilerReport:
    """What `judged` says of a run folder.

    Raises:
        ConfigError: no such rule, or it has no such parameter.
    """
    return judged(Evidence.read(run), defaults=defaults, parameters=parameters)


def judged(
    evidence: Evidence, *, defaults: Defaults = "code", parameters: Mapping[str, Any] | None = None
) -> ProfilerReport:
    """Every rule's verdict, and how the machine was used.

    `parameters`: values by rule and name, {"StepOutlier": {"stddev": 4}}, or as ProfilerReport takes them,
    {"StepOutlier_stddev": 4}.

    Raises:
        ConfigError: no such rule, or it has no such parameter.
    """
    verdicts = []
    for rule in configured(defaults=defaults, parameters=parameters):
        lacks = rule.lacks(evidence)
        verdicts.append(
            Verdict(
                rule=type(rule).__name__,
                means=(type(rule).__doc__ or "").partition("\n")[0],
                parameters=asdict(rule),  # type: ignore[call-overload]
                findings=() if lacks else tuple(rule.judge(evidence)),
                lacks=lacks,
            )
        )
    return ProfilerReport(tuple(verdicts), system_usage(evidence.system))


def configured(*, defaults: Defaults = "code", parameters: Mapping[str, Any] | None = None) -> list[Rule]:
    """All rules with their parameters.

    Raises:
        ConfigError: no such rule, or it has no such parameter.
    """
    asked = _by_rule(parameters or {})
    if defaults not in ("code", "guide"):
        raise ConfigError(f"There are no {defaults!r} defaults of the rules.", hint="Choose 'code' or 'guide'.")
    rules = []
    for kind in RULES:
        values = dict(GUIDE.get(kind.__name__, {})) if defaults == "guide" else {}
        own = asked.pop(kind.__name__.lower(), {})
        known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
        for name in own:
            if name not in known:
                raise ConfigError(f"{kind.__name__} has no parameter {name!r}. {did_you_mean(name, known)}")
        rules.append(kind(**{**values, **own}))
    for name in asked:
        if name != USAGE.lower():
            raise ConfigError(f"There is no rule {name!r}. {did_you_mean(name, [kind.__name__ for kind in RULES])}")
    return rules


def system_usage(rows: Iterable[SystemRow]) -> dict[str, Spread]:
    """OverallSystemUsage's statistics: how busy and full the machine was."""
    columns: dict[str, list[float]] = {"CPU": [], "CPU memory": [], "I/O": []}
    for row in rows:
        columns["CPU"].append(row.cpu_percent)
        columns["CPU memory"].append(row.memory_percent)
        if row.io_percent is not None:
            columns["I/O"].append(row.io_percent)
        for kind, values in (("GPU", row.gpu_percent), ("GPU memory", row.gpu_memory_percent)):
            for index, value in enumerate(values):
                columns.setdefault(f"{kind} {index}", []).append(value)
    return {name: _spread(values) for name, values in columns.items() if values}


def _spread(values: list[float]) -> Spread:
    return Spread(*(round(float(value), 2) for value in np.percentile(values, (0, 50, 95, 99, 100))))


def _by_rule(parameters: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Values by rule (in small letters: SageMaker's own takes any) and parameter."""
    rules: dict[str, dict[str, Any]] = {}
    for key, value in parameters.items():
        rule, _, name = key.partition("_")
        given = dict(value) if isinstance(value, Mapping) else {name.lower(): value}
        rules.setdefault(rule.lower(), {}).update(given)
    return rules
