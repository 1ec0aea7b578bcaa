"""What a report says of a run."""

from typing import Any

import msgspec

from bintally.training.profile.breakdown import Part, SlowStep
from bintally.training.profile.rules import Spread
from bintally.training.run_facts import HotOperator, Setting
from bintally.training.run_findings import RuleFindings


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a run. Times are in seconds, shares 0..1."""

    run: str
    recipe: str
    state: str
    """finished, under way or stopped."""
    healthy: bool
    sentence: str
    because: str
    epochs: tuple[dict[str, float], ...]
    best_epoch: int | None
    blind_accuracy: float | None
    steps: int
    findings: tuple[RuleFindings, ...]
    rules_without_verdict: dict[str, str]
    """Profiler rules that can't judge this run, and what they lack."""
    time_s: float
    step_s: float
    """Median step, without validation."""
    time_sentence: str
    phases: tuple[Part, ...]
    parts: dict[str, tuple[Part, ...]]
    slowest: tuple[SlowStep, ...]
    usage: dict[str, Spread]
    operators: tuple[HotOperator, ...]
    settings: tuple[Setting, ...]
    environment: dict[str, Any]
    missing: tuple[str, ...]
    defaults: str
    page: str
