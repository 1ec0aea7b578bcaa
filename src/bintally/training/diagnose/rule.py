"""The one contract of all rules.

A rule is a dataclass whose fields are the parameters that Amazon SageMaker Debugger published for it, by the same names
and with the same defaults (SageMaker developer guide, "List of Debugger built-in rules"). `base_trial` and the regexes
by which that tool finds losses, inputs, labels and predictions are left out: here these are handed in.

What a rule meets, in this order at each look: `hear` (each loss since), `measure` (tensors, on the device), `judge`
(what it measured, as numbers), and at the end of a training `finish`. Each of them but `measure` returns all that is
ill now, or None where it has not looked; that one illness is told once is the ledger's business.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from torch import Tensor

from bintally.errors import ConfigError, did_you_mean
from bintally.training.diagnose.finding import Finding
from bintally.training.diagnose.seen import Mode, Sight, Tensors

Source = Literal["gradients", "weights", "updates", "activations", "losses", "inputs", "labels", "logits"]
Figures = Mapping[str, list[float]]
"""By the name a rule gave it, the values of what it measured."""
Patterns = str | tuple[str, ...] | None
"""One regex, several, or several in one string with commas between."""

COLLECTIONS: Final = ("losses", "gradients", "weights")


@dataclass(kw_only=True)
class Rule:
    """Base of all rules. One object watches one training: it keeps what it remembers in itself."""

    looks_at: ClassVar[frozenset[Source]] = frozenset()
    in_a_row: ClassVar[int] = 1
    """At how many looks one after the other something must be ill before it is said."""

    @property
    def name(self) -> str:
        """As SageMaker Debugger calls it."""
        return type(self).__name__

    def hear(self, step: int, mode: Mode, loss: float, plain: float | None) -> list[Finding] | None:
        """One train step's loss; or the mean loss of a validation, heard after train step `step`.

        `plain` is the cross-entropy of the same batches, where logits and labels were handed in.
        """
        return None

    def measure(self, sight: Sight) -> dict[str, Tensor]:
        """What `judge` wants to know of a look, small tensors still on the device; nothing to skip the look."""
        return {}

    def judge(self, step: int, figures: Figures) -> list[Finding] | None:
        """What is ill by the figures that `measure` asked for."""
        return None

    def finish(self, step: int, weights: Mapping[str, Tensor]) -> list[Finding] | None:
        """What can be said only at the end; not called after an error."""
        return None

    def found(self, step: int, tensor: str, value: float, threshold: float, message: str, advice: str = "") -> Finding:
        """A finding of this rule."""
        return Finding(self.name, step, tensor, value, threshold, message, advice)


def chosen(figures: dict[str, Tensor], patterns: Patterns) -> dict[str, Tensor]:
    """Those whose name any of the patterns finds; all without patterns."""
    if patterns is None:
        return figures
    listed = patterns.split(",") if isinstance(patterns, str) else patterns
    return {name: value for name, value in figures.items() if any(re.search(p.strip(), name) for p in listed)}


def collections(names: Patterns, default: Collection[str]) -> frozenset[str]:
    """The collections that `names` lists.

    Raises:
        ConfigError: there is no such collection.
    """
    if names is None:
        return frozenset(default)
    listed = [name.strip() for name in (names.split(",") if isinstance(names, str) else names)]
    for name in listed:
        if name not in COLLECTIONS:
            raise ConfigError(f"There is no collection {name!r}.", hint=did_you_mean(name, COLLECTIONS))
    return frozenset(listed)


def in_collections(sight: Sight, names: frozenset[str]) -> dict[str, Tensors]:
    """The tensors of a look by collection; losses are heard, not looked at."""
    held = {"gradients": sight.gradients, "weights": sight.weights}
    return {name: held[name] for name in held if name in names}
