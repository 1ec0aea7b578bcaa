"""All rules by name, and which of them run when nobody says."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import fields
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from bintally.errors import ConfigError, did_you_mean
from bintally.training.diagnose.activation_rules import DeadRelu, PoorWeightInitialization, SaturatedActivation
from bintally.training.diagnose.answer_rules import CheckInputImages, ClassImbalance, Confusion
from bintally.training.diagnose.loss_rules import LossNotDecreasing, Overfit, Overtraining
from bintally.training.diagnose.rule import Rule
from bintally.training.diagnose.run_rules import SimilarAcrossRuns, StalledTrainingRule
from bintally.training.diagnose.tensor_rules import (
    AllZero,
    ExplodingTensor,
    TensorVariance,
    UnchangedTensor,
    VanishingGradient,
    WeightUpdateRatio,
)

RULES: Final[dict[str, type[Rule]]] = {
    rule.__name__: rule
    for rule in (
        VanishingGradient,
        ExplodingTensor,
        PoorWeightInitialization,
        DeadRelu,
        SaturatedActivation,
        WeightUpdateRatio,
        AllZero,
        TensorVariance,
        UnchangedTensor,
        LossNotDecreasing,
        Overfit,
        Overtraining,
        ClassImbalance,
        Confusion,
        CheckInputImages,
        StalledTrainingRule,
        SimilarAcrossRuns,
    )
}

ON_REQUEST: Final = frozenset({"TensorVariance", "SimilarAcrossRuns"})
"""Rules that say nothing without a parameter: they run where they are given one."""

DEFAULT: Final = tuple(
    name
    for name in RULES
    if name not in ON_REQUEST | {"PoorWeightInitialization", "Overfit", "Confusion", "CheckInputImages"}
)
"""What `bintally train` runs when nobody says. Left out are rules whose published defaults speak of other trainings:
PoorWeightInitialization, because large networks have smaller gradients when healthy, and most start pretrained;
Overfit, because a gap of 10% comes long before the epoch that is kept, which is chosen on val anyway; Confusion,
because no network that counts bins is right in 90% of its answers; CheckInputImages, because networks here normalise
raw pixels themselves, by another mean than that of dark shelves."""


def select(
    rules: str | Iterable[str | Rule] = "default", parameters: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Rule]:
    """Fresh rules: "default", "all" that run without parameters, "none", or a list of names and of rules.

    `parameters` are by rule and name; a rule of `ON_REQUEST` joins "all" if it is given some.

    Raises:
        ConfigError: no such rule or parameter, or a value of the wrong kind.
    """
    given = parameters or {}
    for name in given:
        _known(name)
    if isinstance(rules, str):
        whole: dict[str, Iterable[str]] = {
            "default": DEFAULT,
            "none": (),
            "all": [n for n in RULES if n not in ON_REQUEST or n in given],
        }
        rules = whole.get(rules, [rules])
    return [deepcopy(rule) if isinstance(rule, Rule) else build(rule, given.get(rule, {})) for rule in rules]


def check(rules: str | Iterable[str], parameters: Mapping[str, Mapping[str, Any]]) -> None:
    """Sees that rules can be built, but reads no files: what SimilarAcrossRuns names may not be there yet.

    Raises:
        ConfigError: no such rule or parameter, or a value of the wrong kind.
    """
    for name, given in parameters.items():
        if _known(name) is SimilarAcrossRuns:
            _check_names(SimilarAcrossRuns, given)
        else:
            build(name, given)
    for name in () if isinstance(rules, str) else rules:
        if name not in parameters:
            build(name, {})


def build(name: str, parameters: Mapping[str, Any]) -> Rule:
    """One rule by its name.

    Raises:
        ConfigError: no such rule or parameter, or a value of the wrong kind.
    """
    kind = _known(name)
    known = _check_names(kind, parameters)
    try:
        return TypeAdapter(kind).validate_python(dict(parameters))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise ConfigError(
            f"{name} can't be built: '{key}': {problem['msg']}.", hint=f"It takes {', '.join(known) or 'nothing'}."
        ) from None


def _check_names(kind: type[Rule], parameters: Mapping[str, Any]) -> list[str]:
    """The names of a rule's parameters, after all those given are found among them."""
    known = [entry.name for entry in fields(kind) if entry.init]
    for parameter in parameters:
        if parameter not in known:
            raise ConfigError(f"{kind.__name__} has no parameter {parameter!r}.", hint=did_you_mean(parameter, known))
    return known


def _known(name: str) -> type[Rule]:
    if name not in RULES:
        raise ConfigError(f"There is no rule {name!r}.", hint=did_you_mean(name, RULES, shown=len(RULES)))
    return RULES[name]
