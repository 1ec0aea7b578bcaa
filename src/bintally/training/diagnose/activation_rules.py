"""Rules about activations and initial weights. They see activations that are modules, such as nn.ReLU."""

from dataclasses import dataclass
from statistics import median
from typing import ClassVar

from torch import Tensor

from bintally.training.diagnose.finding import Finding
from bintally.training.diagnose.rule import Figures, Patterns, Rule, Source, chosen
from bintally.training.diagnose.seen import Mode, Sight


@dataclass(kw_only=True)
class DeadRelu(Rule):
    """More than `threshold_layer` percent of a layer's ReLUs are dead, at 3 looks in a row.

    A ReLU (one channel or neuron) is dead that is active for less than `threshold_inactivity` percent of its inputs.
    """

    tensor_regex: Patterns = None
    threshold_inactivity: float = 1.0
    threshold_layer: float = 50.0

    looks_at: ClassVar[frozenset[Source]] = frozenset({"activations"})
    in_a_row: ClassVar[int] = 3

    def measure(self, sight: Sight) -> dict[str, Tensor]:
        """Percentages of dead ReLUs by layer."""
        active = {
            name: 100 * (layer.inputs_uv > 0).float().mean(dim=1)
            for name, layer in sight.activations.items()
            if layer.kind == "relu"
        }
        dead = {name: 100 * (percent < self.threshold_inactivity).float().mean() for name, percent in active.items()}
        return chosen(dead, self.tensor_regex)

    def judge(self, step: int, figures: Figures) -> list[Finding]:
        """Layers with too many."""
        told = (
            f"of the ReLUs of {{name}} are dead: each is active for less than {self.threshold_inactivity:g}% of its "
            "inputs, so that little gets through and little is learnt."
        )
        advice = "Lower the learning rate, raise the initial biases, put a norm before it, or use a leaky ReLU."
        return _too_many(self, step, figures, told, advice)


@dataclass(kw_only=True)
class SaturatedActivation(Rule):
    """More than `threshold_layer` percent of a layer's tanh or sigmoid units are saturated, at 3 looks in a row.

    A unit is saturated that has less than `threshold_inactivity` percent of its inputs between the two thresholds;
    beyond them the derivative is below 1e-7.
    """

    tensor_regex: Patterns = None
    threshold_tanh_min: float = -9.4999
    threshold_tanh_max: float = 9.4999
    threshold_sigmoid_min: float = -23.0
    threshold_sigmoid_max: float = 16.99999
    threshold_inactivity: float = 1.0
    threshold_layer: float = 50.0

    looks_at: ClassVar[frozenset[Source]] = frozenset({"activations"})
    in_a_row: ClassVar[int] = 3

    def measure(self, sight: Sight) -> dict[str, Tensor]:
        """Percentages of saturated units by layer."""
        bounds = {
            "tanh": (self.threshold_tanh_min, self.threshold_tanh_max),
            "sigmoid": (self.threshold_sigmoid_min, self.threshold_sigmoid_max),
        }
        saturated = {}
        for name, layer in sight.activations.items():
            if layer.kind in bounds:
                low, high = bounds[layer.kind]
                active_u = ((layer.inputs_uv > low) & (layer.inputs_uv < high)).float().mean(dim=1)
                saturated[name] = 100 * (100 * active_u < self.threshold_inactivity).float().mean()
        return chosen(saturated, self.tensor_regex)

    def judge(self, step: int, figures: Figures) -> list[Finding]:
        """Layers with too many."""
        told = "of the units of {name} are saturated: their inputs are where the activation is flat, so that no "
        told += "gradient gets through."
        advice = "Scale its inputs down: smaller initial weights, a norm before it, a lower learning rate."
        return _too_many(self, step, figures, told, advice)


def _too_many(
    rule: DeadRelu | SaturatedActivation, step: int, figures: Figures, told: str, advice: str
) -> list[Finding]:
    """Layers with more than `threshold_layer` percent of their units ill; `told` goes on after the percentage."""
    limit = rule.threshold_layer
    return [
        rule.found(step, name, percent, limit, f"{percent:.0f}% {told.format(name=name)}", advice)
        for name, (percent,) in figures.items()
        if percent > limit
    ]


@dataclass(kw_only=True)
class PoorWeightInitialization(Rule):
    """After the first `steps` steps: the weights were a poor start. Any of three signs is a finding.

    1. The variances of what goes into ReLUs differ between layers by more than `threshold` times.
    2. The gradient of a weight spreads, from its 5th to its 95th percentile, over less than `distribution_range`.
    3. The loss of the last `patience` of these steps is no lower than that of the steps before, by their means.

    Of each layer the median (1) or the largest (2) of all looks counts: a branch may start at zero on purpose. The
    gradients of large, healthy networks are smaller than `distribution_range`, and pretrained weights have variances as
    they like: this rule is for small networks that start from scratch.
    """

    activation_inputs_regex: Patterns = None
    threshold: float = 10.0
    distribution_range: float = 0.001
    patience: int = 5
    steps: int = 10

    looks_at: ClassVar[frozenset[Source]] = frozenset({"activations", "gradients", "losses"})

    def __post_init__(self) -> None:
        self._losses: list[float] = []
        self._variances: dict[str, list[float]] = {}
        self._spreads: dict[str, list[float]] = {}
        self._judged: bool = False

    def measure(self, sight: Sight) -> dict[str, Tensor]:
        """Variances of ReLUs' inputs, and spreads of gradients."""
        if self._judged or len(self._losses) >= self.steps:
            return {}
        inputs = {name: layer.inputs_uv for name, layer in sight.activations.items() if layer.kind == "relu"}
        variances = {name: inputs_uv.var(correction=0) for name, inputs_uv in inputs.items()}
        spreads = {name: sight.gradients.spread[name] for name in sight.gradients.matrices}
        return {
            **{f"variance {name}": value for name, value in chosen(variances, self.activation_inputs_regex).items()},
            **{f"spread {name}": value for name, value in spreads.items()},
        }

    def judge(self, step: int, figures: Figures) -> None:
        """Remembers a look."""
        for key, (value,) in figures.items():
            kind, _, name = key.partition(" ")
            (self._variances if kind == "variance" else self._spreads).setdefault(name, []).append(value)

    def hear(self, step: int, mode: Mode, loss: float, plain: float | None) -> list[Finding] | None:
        """Judges when the first steps are over."""
        if mode == "eval" or self._judged:
            return None
        if len(self._losses) < self.steps:
            self._losses.append(loss)
            return None
        self._judged = True
        return [*self._uneven(step), *self._narrow(step), *self._stuck(step)]

    def _uneven(self, step: int) -> list[Finding]:
        variances = {name: median(values) for name, values in self._variances.items()}
        if len(variances) < 2:
            return []
        low, high = min(variances, key=lambda n: variances[n]), max(variances, key=lambda n: variances[n])
        ratio = min(variances[high] / max(variances[low], 1e-30), 1e30)
        if not ratio > self.threshold:
            return []
        told = f"What goes into {high} varies {ratio:.3g} times as much as what goes into {low}."
        advice = "Keep the variance from layer to layer (He et al. 2015, arXiv:1502.01852), or add norms."
        return [self.found(step, low, ratio, self.threshold, told, advice)]

    def _narrow(self, step: int) -> list[Finding]:
        spreads = {name: max(values) for name, values in self._spreads.items()}
        name = min(spreads, key=lambda n: spreads[n], default=None)
        if name is None or not spreads[name] < self.distribution_range:
            return []
        told = f"The gradient of {name} spreads over {spreads[name]:.1e} only: its weights learn nearly alike."
        advice = "Initialise its weights at random, and larger; for large networks this may be healthy."
        return [self.found(step, name, spreads[name], self.distribution_range, told, advice)]

    def _stuck(self, step: int) -> list[Finding]:
        earlier, late = self._losses[: -self.patience], self._losses[-self.patience :]
        before, now = sum(earlier) / max(len(earlier), 1), sum(late) / max(len(late), 1)
        if not earlier or not now >= before:
            return []
        told = f"The loss does not fall in the first {self.steps} steps: {before:.4g}, then {now:.4g}."
        advice = "See the initial weights and the learning rate; a long warm-up may explain it."
        return [self.found(step, "loss", now, before, told, advice)]
