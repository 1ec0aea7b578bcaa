"""The search space of a recipe: its keys checked against the recipe itself, and values put in their place."""

import itertools
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, get_args

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import BaseModel

from bintally.errors import ConfigError
from bintally.training.recipe import Recipe
from bintally.training.tune.settings import Parameter, Value

CLOSED = ("name", "tune")
"""What can't be tuned."""


def search_space(recipe: Recipe) -> dict[str, BaseDistribution]:
    """What Optuna may choose from, by dotted key.

    Raises:
        ConfigError: there is none, a key is not the recipe's, or a value is out of the recipe's own range.
    """
    if not recipe.tune.space:
        raise ConfigError(
            "The recipe names nothing to tune.",
            hint='Give it a [tune.space], e.g. "optimizer.head_lr" = { low = 1e-4, high = 1e-1, log = true }.',
        )
    space = {key: _distribution(key, parameter) for key, parameter in recipe.tune.space.items()}
    for key, parameter in recipe.tune.space.items():
        for value in parameter.choices or (parameter.low, parameter.high):
            number = isinstance(space[key], IntDistribution) and not parameter.choices
            with_values(recipe, {key: int(value) if number and value is not None else value})
    return space


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """`recipe` with `values` at their dotted keys, and nothing left to tune.

    Raises:
        ConfigError: a key is not the recipe's, or the whole is no valid recipe.
    """
    plain = recipe.model_dump(mode="json", exclude={"tune"})
    for key, value in values.items():
        *sections, name = key.split(".")
        place = plain
        for section in sections:
            inner = place.get(section)
            place[section] = place = inner if isinstance(inner, dict) else {}
        place[name] = value
    return Recipe.of(plain, where="[tune.space]")


def grid(recipe: Recipe) -> list[dict[str, Value]]:
    """Every combination of the space's values, the last key turning fastest."""
    keys = list(recipe.tune.space)
    return [
        dict(zip(keys, values, strict=True))
        for values in itertools.product(*(_listed(key, recipe.tune.space[key]) for key in keys))
    ]


def _listed(key: str, parameter: Parameter) -> tuple[Value, ...]:
    """The values of choices, or of a range with steps."""
    if parameter.choices:
        return parameter.choices
    distribution = _distribution(key, parameter)
    assert isinstance(distribution, IntDistribution | FloatDistribution)  # noqa: S101 - for the type checker
    low, high, step = (Decimal(str(number)) for number in (distribution.low, distribution.high, distribution.step))
    kind = type(distribution.low)
    return tuple(kind(low + place * step) for place in range(int((high - low) / step) + 1))


def _distribution(key: str, parameter: Parameter) -> BaseDistribution:
    if key.split(".")[0] in CLOSED:
        raise ConfigError(f"[tune.space]: {key!r} decides nothing of a training.", hint="Take it out of the space.")
    if parameter.choices:
        return CategoricalDistribution(parameter.choices)
    low, high, step = parameter.low, parameter.high, parameter.step
    if low is None or high is None:
        raise ConfigError(f"[tune.space]: {key!r} needs low and high, or choices.")
    if (parameter.type or _type_of(key)) == "float":
        return FloatDistribution(float(low), _reached(low, high, step), log=parameter.log, step=step)
    if any(bound != int(bound) for bound in (low, high, step or 1)):
        raise ConfigError(f"[tune.space]: {key!r} takes whole numbers, and so must its bounds and its step be.")
    step = int(step or 1)
    return IntDistribution(int(low), int(_reached(low, high, step)), log=parameter.log, step=step)


def _reached(low: float, high: float, step: float | None) -> float:
    """The last value of low, low + step, ... that is not above `high`; in decimals, as they were written."""
    if step is None:
        return float(high)
    first, last, width = (Decimal(str(number)) for number in (low, high, step))
    return float(first + (last - first) // width * width)


def _type_of(key: str) -> str:
    """'int' where the recipe's key holds whole numbers alone, else 'float'."""
    *sections, name = key.split(".")
    config: Any = Recipe
    for section in sections:
        field = config.model_fields.get(section)
        config = field.annotation if field else None
        if not (isinstance(config, type) and issubclass(config, BaseModel)):
            return "float"
    field = config.model_fields.get(name)
    kinds = (get_args(field.annotation) or (field.annotation,)) if field else ()
    return "int" if int in kinds and float not in kinds else "float"
