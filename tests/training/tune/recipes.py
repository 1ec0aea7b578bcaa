"""Recipes with something to tune, on the rendered photos."""

from typing import Any

from bintally.training.recipe import Recipe
from tests.training.conftest import tiny_recipe

RATE = {"optimizer.head_lr": {"low": 1e-4, "high": 1e-1, "log": True}}


def tuned_recipe(tune: dict[str, Any], **sections: dict[str, Any]) -> Recipe:
    """A frozen `test_resnet` at 64 px whose head's rate is tuned, unless `tune` says otherwise."""
    recipe: dict[str, dict[str, Any]] = {"network": {"tune": "head"}, "augment": {"flip": 0.0}, **sections}
    return tiny_recipe(**recipe, tune={"space": RATE, **tune})


GOOD_RATES = (3e-3, 5e-3)
BAD_RATE = 1e-9
"""So low that nothing is learnt."""


def pruned_recipe() -> Recipe:
    """The last of three rates is `BAD_RATE`, and so worse than the median of the others."""
    return tuned_recipe(
        {
            "sampler": "grid",
            "pruner": "median",
            "prune_after_trials": 2,
            "space": {"optimizer.head_lr": {"choices": [*GOOD_RATES, BAD_RATE]}},
        },
        loop={"epochs": 5},
        optimizer={"schedule": "constant"},
    )
