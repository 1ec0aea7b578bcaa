"""Rules about a training as a whole: does it go on, and is it the same as another one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bintally.errors import ConfigError
from bintally.training.diagnose.finding import Finding
from bintally.training.diagnose.rule import Patterns, Rule, Source, chosen
from bintally.training.diagnose.seen import Mode
from bintally.training.run_log import read_steps

_RTOL: Final = 1e-5
_ATOL: Final = 1e-8
"""numpy.allclose's; the original names none."""


@dataclass(kw_only=True)
class StalledTrainingRule(Rule):
    """No step for `threshold` seconds. A thread of the watcher sees to it, so that it is said while nothing happens.

    `stop_training_on_fire` ends the training as Ctrl-C does (the original stops its job); it can be resumed.
    """

    threshold: float = 1800.0
    stop_training_on_fire: bool = False

    def stalled(self, step: int, seconds: float) -> Finding:
        """The finding, `seconds` after the last step."""
        told = f"Nothing has happened for {seconds:.3g} s after step {step}."
        advice = "See what the loader waits for: disk, network, a worker that died; or what holds the machine."
        return self.found(step, "step", seconds, self.threshold, told, advice)


@dataclass(kw_only=True)
class SimilarAcrossRuns(Rule):
    """The training differs from another one: in the loss of a step, or in the weights it ends with.

    `other_trial` is a run's folder (its losses are read from the log), losses by step, or a safetensors file of
    weights.
    """

    other_trial: Path | str | Sequence[float]
    collection_names: Patterns = None
    tensor_regex: Patterns = None

    looks_at: ClassVar[frozenset[Source]] = frozenset({"losses"})

    def __post_init__(self) -> None:
        self._losses: dict[int, float] = {}
        self._weights: dict[str, Tensor] = {}
        other = Path(self.other_trial) if isinstance(self.other_trial, str) else self.other_trial
        if not isinstance(other, Path):
            self._losses = dict(enumerate(other))
        elif other.suffix == ".safetensors":
            self._weights = _read(other)
        else:
            self._losses = {row.step: row.loss for row in read_steps(other) if row.loss is not None}
            if not self._losses:
                raise ConfigError(f"{other} is no run with a log of its steps.", hint="Name a run's folder.")

    def hear(self, step: int, mode: Mode, loss: float, plain: float | None) -> list[Finding] | None:
        """Compares a step's loss with the other's at the same step."""
        if mode == "eval" or step not in self._losses:
            return None
        other = self._losses[step]
        if math.isclose(loss, other, rel_tol=_RTOL, abs_tol=_ATOL) or (math.isnan(loss) and math.isnan(other)):
            return []
        told = f"From step {step} on this training is not the other one: its loss is {loss:.6g}, there {other:.6g}."
        advice = "Compare seeds, recipes, photos, versions and machines (log/environment.json)."
        return [self.found(step, "train loss", loss, other, told, advice)]

    def finish(self, step: int, weights: Mapping[str, Tensor]) -> list[Finding] | None:
        """Compares the weights at the end."""
        if not self._weights:
            return None
        ends = {name.removeprefix("backbone."): tensor.detach().cpu() for name, tensor in weights.items()}
        own = chosen(ends, self.tensor_regex)
        findings = []
        for name in sorted(own.keys() & self._weights.keys()):
            other = self._weights[name]
            if own[name].shape != other.shape:
                gap = float(max(own[name].numel(), other.numel()))
            elif torch.allclose(own[name].float(), other.float(), rtol=_RTOL, atol=_ATOL):
                continue
            else:
                gap = float(torch.nan_to_num((own[name].float() - other.float()).abs(), nan=1e30).max())
            told = f"{name} ends elsewhere than in the other run: by up to {gap:.3g}."
            advice = "Compare seeds, recipes, photos, versions and machines (log/environment.json)."
            findings.append(self.found(step, name, gap, _ATOL, told, advice))
        return findings


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return {name.removeprefix("backbone."): tensor for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise ConfigError(f"{path} is no whole safetensors file: {error}.", hint="Name a run's weights.") from error
