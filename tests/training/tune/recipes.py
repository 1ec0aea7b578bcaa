"""Recipes with something to tune, on the rendered photos."""

from typing import Any

from bintally.training.recipe import Recipe
from tests.training.conftest import tiny_recipe

RATE = {"optimizer.head_lr": {"low": 1e-4, "high": 1e-1, "log": True}}


def tuned_recipe(tune: dict[str, Any], **sections: dict[str, Any]) -> Recipe:
    """A frozen `test_resnet` at 64 px whose head's rate is tuned, unless `tune` says otherwise."""
    recipe: dict[str, dict[str, Any]] = {"network": {"tune": "head"}, "augment": {"flip": 0.0}, **sections}
    return tiny_recipe(**recipe, tune={"space": RATE, **tune})
