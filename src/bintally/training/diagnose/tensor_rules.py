"""Rules about gradients and weights: vanishing, exploding, all zero, too large a step, standing still."""

import math
from dataclasses import dataclass
from typing import ClassVar, Final

import torch
from torch import Tensor

from bintally.errors import ConfigError
from bintally.training.diagnose.finding import Finding
from bintally.training.diagnose.rule import Figures, Patterns, Rule, Source, chosen, collections, in_collections
from bintally.training.diagnose.seen import Mode, Sight

_APART: Final = 10
"""Steps between two looks of `UnchangedTensor`. While the rate warms up, one step may be within any tolerance; the
original compares tensors saved 500 steps apart."""


@dataclass(kw_only=True)
class VanishingGradient(Rule):
    """The mean absolute gradient of a weight is below `threshold`, at 3 looks in a row.

    In a row, because a branch that starts at zero (the last norm of a residual block) lets none through at first.
    Biases are not asked: one before a norm has no effect, and so no gradient.
    """

    threshold: float = 1e-7

    looks_at: ClassVar[frozenset[Source]] = frozenset({"gradients"})
    in_a_row: ClassVar[int] = 3

    def measure(self, sight: Sight) -> dict[str, Tensor]:
        """Mean absolute gradients."""
        matrices = sight.gradients.matrices
        return {name: value for name, value in sight.gradients.mean_abs.items() if name in matrices}

    def judge(self, step: int, figures: Figures) -> list[Finding]:
        """Those below the threshold."""
        return [
            self.found(
                step,
                name,
                value,
                self.threshold,
                f"The gradient of {name} has all but vanished: its mean absolute value is {value:.1e}, below "
                f"{self.threshold:.0e}; what is before that layer hardly learns.",
                "Look for a detach() or saturated activations on the way; normalisation, residual connections or "
                "larger initial weights let gradients through.",
            )
            for name, (value,) in figures.items()
            if value < self.threshold
        ]


@dataclass(kw_only=True)
class ExplodingTensor(Rule):
    """A loss, gradient or weight is NaN or infinite; `only_nan`: infinite ones pass. The value of a finding is 1."""

    collection_names: Patterns = None
    tensor_regex: Patterns = None
    only_nan: bool = False

    looks_at: ClassVar[frozenset[Source]] = frozenset({"losses", "gradients", "weights"})

    def __post_init__(self) -> None:
        self._collections = collections(self.collection_names, ("losses", "gradients", "weights"))

    def hear(self, step: int, mode: Mode, loss: float, plain: float | None) -> list[Finding] | None:
        """Whether the loss is a number."""
        if "losses" not in self._collections:
            return None
        return [self._said(step, f"{mode} loss", loss)] if self._exploded(loss) else []

    def measure(self, sight: Sight) -> dict[str, Tensor]:
        """Mean absolute values: one that is no number makes the mean none."""
        return {
            f"{collection} {name}": value
            for collection, tensors in in_collections(sight, self._collections).items()
            for name, value in chosen(tensors.mean_abs, self.tensor_regex).items()
        }

    def judge(self, step: int, figures: Figures) -> list[Finding]:
        """Those that are no numbers."""
        return [self._said(step, name, value) for name, (value,) in figures.items() if self._exploded(value)]

    def _exploded(self, value: float) -> bool:
        return math.isnan(value) or (math.isinf(value) and not self.only_nan)

    def _said(self, step: int, name: str, value: float) -> Finding:
        return self.found(
            step,
            name,
            1.0,
            0.0,
            f"{name} has become {'NaN' if math.isnan(value) else 'infinite'}: what follows is of no use.",
            "Lower the learning rate, clip gradients, or compute in float32.",
        )


@dataclass(kw_only=True)
class WeightUpdateRatio(Rule):
    """Steps change a weight by more than `large_threshold` or less than `small_threshold` of itself, 3 looks in a row.

    Mean absolute values, of the weights before the step. In a row, because the first step from zero is infinitely
    large, and a schedule may begin or end at zero. With
    `num_steps` above 1, weights are compared with those of so many looks ago.
    """

    num_steps: int | None = None
    large_threshold: float = 10.0
    small_threshold: float = 1e-8
    epsilon: float = 1e-9

    looks_at: ClassVar[frozenset[Source]] = frozenset({"updates", "weights"})
    in_a_row: ClassVar[int] = 3

    def __post_init__(self) -> None:
        self._earlier: list[dict[str, Tensor]] = []

    def measure(self, sight: Sight) -> dict[str, Tensor]:
        """Ratios of update to weight."""
        if self.num_steps is None or self.num_steps <= 1:
            changes, weights = sight.updates.mean_abs, sight.before.mean_abs
            return {name: change / (weights[name] + self.epsilon) for name, change in changes.items()}
        self._earlier.append({name: tensor.detach().clone() for name, tensor in sight.weights.named.items()})
        if len(self._earlier) <= self.num_steps:
            return {}
        before = self._earlier.pop(0)
        return {
            name: (tensor - before[name]).abs().mean() / (before[name].abs().mean() + self.epsilon)
            for name, tensor in sight.weights.named.items()
        }

    def judge(self, step: int, figures: Figures) -> list[Finding]:
        """Those out of bounds."""
        findings = []
        for name, (ratio,) in figures.items():
            if ratio > self.large_threshold:
                told = f"Each step changes {name} by {ratio:.3g} times its size: more than {self.large_threshold:g}."
                advice = "Lower the learning rate, or clip gradients."
                findings.append(self.found(step, name, ratio, self.large_threshold, told, advice))
            elif ratio < self.small_threshold:
                told = f"Each step changes {name} by {ratio:.1e} of its size: less than {self.small_threshold:.0e}."
                advice = "Raise the learning rate; or see whether the optimizer was given this weight at all."
                findings.append(self.found(step, name, ratio, self.small_threshold, told, advice))
        return findings


@dataclass(kw_only=True)
class AllZero(Rule):
    """At least `threshold` percent of a tensor's values are 0, at 3 looks in a row.

    The original must be told which tensors; without being told, this one looks at gradients. (Biases start at zero.)
    """

    collection_names: Patterns = None
    tensor_regex: Patterns = None
    threshold: float = 100.0

    looks_at: ClassVar[frozenset[Source]] = frozenset({"gradients", "weights"})
    in_a_row: ClassVar[int] = 3

    def __post_init__(self) -> None:
        default = ("gradients", "weights") if self.tensor_regex else ("gradients",)
        self._collections = collections(self.collection_names, default)

    def measure(self, sight: Sight) -> dict[str, Tensor]:
        """Percentages of zeros; for all or nothing, mean absolute values, which other rules want, too."""
        return {
            f"{collection} {name}": value
            for collection, tensors in in_collections(sight, self._collections).items()
            for name, value in chosen(
                tensors.zero_percent if self.threshold < 100 else tensors.mean_abs, self.tensor_regex
            ).items()
        }

    def judge(self, step: int, figures: Figures) -> list[Finding]:
        """Those with too many zeros."""
        if self.threshold >= 100:
            zeros = {name: 100.0 for name, (value,) in figures.items() if value == 0}
        else:
            zeros = {name: value for name, (value,) in figures.items() if value >= self.threshold}
        return [
            self.found(
                step,
                name,
                percent,
                self.threshold,
                f"{percent:.0f}% of {name} is zero.",
                "See whether that layer reaches the loss, whether its ReLUs are dead, and how it was initialised.",
            )
            for name, percent in zeros.items()
        ]


@dataclass(kw_only=True)
class TensorVariance(Rule):
    """The variance of a tensor is above `max_threshold` or below `min_threshold`; one of them must be given.

    Without `collection_names`, it looks at gradients and weights.
    """

    collection_names: Patterns = None
    tensor_regex: Patterns = None
    max_threshold: float | None = None
    min_threshold: float | None = None

    looks_at: ClassVar[frozenset[Source]] = frozenset({"gradients", "weights"})

    def __post_init__(self) -> None:
        if self.max_threshold is None and self.min_threshold is None:
            raise ConfigError(
                "TensorVariance has no thresholds of its own.", hint="Give it max_threshold or min_threshold."
            )
        self._collections = collections(self.collection_names, ("gradients", "weights"))

    def measure(self, sight: Sight) -> dict[str, Tensor]:
        """Variances."""
        return {
            f"{collection} {name}": value
            for collection, tensors in in_collections(sight, self._collections).items()
            for name, value in chosen(tensors.variance, self.tensor_regex).items()
        }

    def judge(self, step: int, figures: Figures) -> list[Finding]:
        """Those out of bounds."""
        findings = []
        for name, (value,) in figures.items():
            if self.max_threshold is not None and value > self.max_threshold:
                told = f"The variance of {name} is {value:.3g}, above {self.max_threshold:g}."
                advice = "Lower the learning rate or the initial weights, before activations saturate."
                findings.append(self.found(step, name, value, self.max_threshold, told, advice))
            elif self.min_threshold is not None and value < self.min_threshold:
                told = f"The variance of {name} is {value:.3g}, below {self.min_threshold:g}."
                advice = "Raise the initial weights or the learning rate: its values hardly differ."
                findings.append(self.found(step, name, value, self.min_threshold, told, advice))
        return findings


@dataclass(kw_only=True)
class UnchangedTensor(Rule):
    """A weight stays the same, by numpy.allclose's measure, over `num_steps` looks 10 steps or more apart.

    Weights that ask for no gradient stand still on purpose, and the watcher shows none of them. Biases are not asked:
    one before a norm has nothing to learn.
    """

    collection_names: Patterns = None
    tensor_regex: Patterns = None
    num_steps: int = 3
    rtol: float = 1e-5
    atol: float = 1e-8
    equal_nan: bool = False

    looks_at: ClassVar[frozenset[Source]] = frozenset({"weights"})

    def __post_init__(self) -> None:
        self._before: dict[str, Tensor] = {}
        self._unchanged: dict[str, int] = {}
        self._looked_at: int | None = None
        self._collections = collections(self.collection_names, ("weights",))

    def measure(self, sight: Sight) -> dict[str, Tensor]:
        """By how much the value that changed most left its tolerance; only the weights of one look are kept."""
        if self._looked_at is not None and sight.step < self._looked_at + _APART:
            return {}
        self._looked_at = sight.step
        held = {
            name: tensor
            for tensors in in_collections(sight, self._collections).values()
            for name, tensor in chosen(tensors.named, self.tensor_regex).items()
            if name in tensors.matrices
        }
        beyond = {}
        for name in held:
            if name not in self._before:
                continue
            before = self._before[name]
            change = (held[name] - before).abs_() - (self.atol + self.rtol * before.abs())
            beyond[name] = torch.nan_to_num_(change, nan=-1.0).max() if self.equal_nan else change.max()
        self._before = {name: tensor.detach().clone() for name, tensor in held.items()}
        return beyond

    def judge(self, step: int, figures: Figures) -> list[Finding]:
        """Those that never left it."""
        self._unchanged = {name: self._unchanged.get(name, 0) + 1 for name, (beyond,) in figures.items() if beyond <= 0}
        return [
            self.found(
                step,
                name,
                float(times + 1),
                float(self.num_steps),
                f"{name} has been the same at {times + 1} looks one after the other: it does not learn.",
                "See whether the optimizer was given it, whether its rate is 0, and whether it reaches the loss; "
                "set requires_grad=False if it is to stand still.",
            )
            for name, times in self._unchanged.items()
            if times + 1 >= self.num_steps
        ]
