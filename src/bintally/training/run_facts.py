"""All that a run folder tells of its training, read as far as it is there: finished, under way, killed, or old."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from bintally.artifacts import read_rows
from bintally.errors import CheckpointError, ConfigError
from bintally.training.diagnose.finding import Finding
from bintally.training.finished import RECIPE, RUN, TrainReport
from bintally.training.profile.evidence import Evidence
from bintally.training.profile.settings import ProfileSettings
from bintally.training.recipe import Recipe
from bintally.training.run_log import (
    ENVIRONMENT,
    FINDINGS,
    LOG,
    STEPS,
    SYSTEM,
    VALIDATIONS,
    StepRow,
    ValidationRow,
)

_OPERATORS: Final = Path("profile") / "operators.json"
_SILENT_S: Final = 120.0  # a training that has written nothing for so long is taken for stopped


class HotOperator(msgspec.Struct, frozen=True):
    """One recorded operator on inputs of one shape; `self` times leave out the operators it calls."""

    name: str
    shapes: str
    calls: int
    self_cpu_ms: float
    self_gpu_ms: float
    share: float
    """Of all self time, 0..1."""


class Setting(msgspec.Struct, frozen=True):
    """One setting of a recipe."""

    key: str
    value: Any
    default: Any

    @property
    def changed(self) -> bool:
        """Whether the recipe says something else than the default."""
        return bool(self.value != self.default)


@dataclass(frozen=True)
class RunFacts:
    """A run folder, read. `state` is finished, under way or stopped; `missing` says what it does not tell, and why."""

    folder: Path
    state: str
    report: TrainReport | None
    settings: tuple[Setting, ...]
    profile: ProfileSettings
    environment: Mapping[str, Any]
    epochs: list[dict[str, float]]
    """A row an epoch, as `TrainReport.history`; of a run that is not finished, from its log."""
    evidence: Evidence
    findings: list[Finding]
    watched: bool
    operators: tuple[HotOperator, ...]
    missing: tuple[str, ...]

    @property
    def steps(self) -> Sequence[StepRow]:
        """Each once, in order."""
        return self.evidence.steps


def read_facts(run: Path, *, now: float | None = None) -> RunFacts:
    """What `run` tells; `now`, Unix time, decides whether a training without an end is under way.

    Raises:
        CheckpointError: `run` is no run folder.
    """
    log = run / LOG
    if not any((run / name).exists() for name in (RUN, LOG, "identity")):
        raise CheckpointError(f"{run} is no run.", hint="Name the folder that `bintally train --out` wrote.")
    report, evidence = _report(run), Evidence.read(run)
    watched = (log / FINDINGS).is_file()
    return RunFacts(
        folder=run,
        state=_state(log, report, time.time() if now is None else now),
        report=report,
        settings=_settings(run),
        profile=_profile(run),
        environment=_json(log / ENVIRONMENT),
        epochs=report.history if report else _epochs(evidence.steps, evidence.validations),
        evidence=evidence,
        findings=list(read_rows(log / FINDINGS, Finding)),
        watched=watched,
        operators=_operators(run),
        missing=_missing(run, watched=watched),
    )


def _report(run: Path) -> TrainReport | None:
    if not (run / RUN).is_file():
        return None
    try:
        return msgspec.json.decode((run / RUN).read_bytes(), type=TrainReport)
    except msgspec.DecodeError as error:
        raise CheckpointError(f"{run / RUN} can't be read: {error}.", hint="Train again.") from error


def _state(log: Path, report: TrainReport | None, now: float) -> str:
    if report is not None:
        return "finished"
    written = [(log / name).stat().st_mtime for name in (STEPS, VALIDATIONS, SYSTEM) if (log / name).is_file()]
    return "under way" if written and now - max(written) < _SILENT_S else "stopped"


def _missing(run: Path, *, watched: bool) -> tuple[str, ...]:
    """What the page can't show, and what would let it."""
    if not (run / LOG).is_dir():
        return (
            "steps, system use and findings: this run keeps no log/, as runs of earlier versions don't; train again to "
            "have them",
        )
    reasons = {
        RUN: "the final figures: the training has not ended",
        RECIPE: "the recipe",
        f"{LOG}/{STEPS}": "steps and where their time went: nothing timed them",
        f"{LOG}/{SYSTEM}": "system use: nothing looked at the machine",
        str(_OPERATORS): "operators: they were not recorded (profile.operators)",
    }
    absent = [reason for name, reason in reasons.items() if not (run / name).is_file()]
    return (*absent, *(["rules: none watched the training"] if not watched else []))


def _epochs(steps: Iterable[StepRow], validations: Iterable[ValidationRow]) -> list[dict[str, float]]:
    losses: dict[int, list[float]] = {}
    seconds: dict[int, float] = {}
    for row in steps:
        losses.setdefault(row.epoch, []).append(math.nan if row.loss is None else row.loss)
        seconds[row.epoch] = seconds.get(row.epoch, 0.0) + row.duration_s
    latest = {validation.epoch: validation for validation in validations}  # done over after a kill
    return [
        {
            "epoch": float(row.epoch),
            "train_loss": sum(losses.get(row.epoch, ())) / max(len(losses.get(row.epoch, ())), 1),
            "seconds": seconds.get(row.epoch, 0.0),
            **row.figures,
        }
        for _, row in sorted(latest.items())
        if {"log_loss", "accuracy", "rmse"} <= row.figures.keys()
    ]


def _settings(run: Path) -> tuple[Setting, ...]:
    """The recipe's settings, those that differ from the defaults first; of an old recipe, those that still are."""
    told = _flat(_json(run / RECIPE))
    defaults = _flat(Recipe(name="default").model_dump(mode="json"))
    settings = [Setting(key, told[key], defaults[key]) for key in defaults if key in told and key != "name"]
    return tuple(sorted(settings, key=lambda setting: not setting.changed))


def _profile(run: Path) -> ProfileSettings:
    """How the recipe wants the profiler's rules to judge."""
    try:
        return ProfileSettings.of(_json(run / RECIPE).get("profile", {}))
    except ConfigError:  # of another version
        return ProfileSettings()


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _operators(run: Path) -> tuple[HotOperator, ...]:
    try:
        return msgspec.json.decode((run / _OPERATORS).read_bytes(), type=tuple[HotOperator, ...])
    except (OSError, msgspec.DecodeError):
        return ()


def _json(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        return {}
