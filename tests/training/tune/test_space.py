"""The search space: checked against the recipe before anything starts, and never out of its own bounds."""

from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.errors import ConfigError
from bintally.training.recipe import Recipe
from bintally.training.tune.settings import TuneSettings
from bintally.training.tune.space import grid, search_space, with_values
from tests.training.conftest import tiny_recipe


def _recipe(**space: Any) -> Recipe:
    return tiny_recipe(tune={"space": {key.replace("__", "."): value for key, value in space.items()}})


@pytest.mark.parametrize(
    ("key", "parameter", "message"),
    [
        ("optimizer.head_rl", {"low": 0.1, "high": 0.2}, r"unknown key 'optimizer.head_rl'.*'head_lr'"),
        ("optimiser.head_lr", {"low": 0.1, "high": 0.2}, r"unknown key 'optimiser'.*'optimizer'"),
        ("seed.deep", {"choices": [1]}, "'seed'"),
        ("network.drop_rate", {"low": 0.5, "high": 1.5}, r"'network.drop_rate'.*less than or equal to 1"),
        ("loop.batch_size", {"choices": [32, 0]}, r"'loop.batch_size'.*greater than or equal to 1"),
        ("loop.batch_size", {"low": 8, "high": 64.5}, r"'loop.batch_size' takes whole numbers"),
        ("optimizer.name", {"choices": ["adamw", "adam"]}, r"'optimizer.name'.*got 'adam'"),
        ("tune.trials", {"choices": [1, 2]}, "decides nothing"),
        ("name", {"choices": ["a", "b"]}, "decides nothing"),
    ],
)
def test_what_the_recipe_would_not_take_is_told_before_anything_starts(
    key: str, parameter: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        search_space(tiny_recipe(tune={"space": {key: parameter}}))


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ({"low": 1}, "needs low and high, or choices"),
        ({"low": 2, "high": 1}, "low = 2 is not below high = 1"),
        ({"low": 0.0, "high": 1.0, "log": True}, "log needs low above 0"),
        ({"low": 1, "high": 9, "log": True, "step": 2}, "no step"),
        ({"choices": [1, 2], "low": 1}, "choices stand alone, without low"),
        ({"choices": [1, 1]}, "named twice"),
        ({"low": 1, "high": 2, "lgo": True}, "Did you mean 'log'|unknown key"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_told(parameter: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TuneSettings.of({"space": {"optimizer.head_lr": parameter}})


def test_nothing_to_tune_is_told() -> None:
    with pytest.raises(ConfigError, match=r"names nothing to tune.*\[tune.space\]"):
        search_space(tiny_recipe())


def test_two_aims_cannot_prune_and_a_grid_must_be_countable() -> None:
    with pytest.raises(ConfigError, match="needs pruner = 'none'"):
        TuneSettings.of({"objective": "accuracy_latency", "pruner": "median"})
    with pytest.raises(ConfigError, match="choices or a step for"):
        TuneSettings.of({"sampler": "grid", "space": {"optimizer.head_lr": {"low": 0.1, "high": 0.2}}})


def test_whole_numbers_stay_whole() -> None:
    space = search_space(
        _recipe(
            loop__batch_size={"low": 8, "high": 64, "step": 8},
            network__drop_rate={"low": 0, "high": 1},
            network__stages={"low": 2, "high": 4},
        )
    )
    assert isinstance(space["loop.batch_size"], optuna.distributions.IntDistribution)
    assert isinstance(space["network.stages"], optuna.distributions.IntDistribution)
    assert isinstance(space["network.drop_rate"], optuna.distributions.FloatDistribution)


def test_a_grid_is_every_combination_once() -> None:
    recipe = _recipe(
        loop__batch_size={"low": 8, "high": 30, "step": 8},
        optimizer__name={"choices": ["adamw", "sgd"]},
        loss__neighbour={"low": 0.0, "high": 0.3, "step": 0.1},
    )
    points = grid(recipe)
    assert len(points) == len({tuple(point.items()) for point in points}) == 3 * 2 * 4
    assert {point["loop.batch_size"] for point in points} == {8, 16, 24}
    assert sorted({point["loss.neighbour"] for point in points}) == pytest.approx([0, 0.1, 0.2, 0.3])


@given(low=st.floats(1e-6, 1e-2), factor=st.floats(1.5, 1e4), log=st.booleans(), seed=st.integers(0, 2**31 - 1))
def test_every_value_that_may_come_is_a_recipe(low: float, factor: float, log: bool, seed: int) -> None:
    recipe = tiny_recipe(tune={"space": {"optimizer.head_lr": {"low": low, "high": low * factor, "log": log}}})
    space = search_space(recipe)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    value = study.ask(space).params["optimizer.head_lr"]
    changed = with_values(recipe, {"optimizer.head_lr": value})
    assert low <= changed.optimizer.head_lr <= low * factor * (1 + 1e-12)
    assert changed == recipe.model_copy(
        update={"tune": TuneSettings(), "optimizer": recipe.optimizer.model_copy(update={"head_lr": value})}
    )


@given(low=st.integers(1, 100), span=st.integers(1, 400), step=st.integers(1, 50))
def test_a_range_with_steps_never_leaves_its_bounds(low: int, span: int, step: int) -> None:
    recipe = tiny_recipe(
        tune={"sampler": "grid", "space": {"loop.batch_size": {"low": low, "high": low + span, "step": step}}}
    )
    values = [int(point["loop.batch_size"]) for point in grid(recipe)]
    assert values == list(range(low, low + span + 1, step))
    assert search_space(recipe)["loop.batch_size"]._contains(values[-1])
