"""The recipe's section: strict, in one order, with defaults that hold."""

from pathlib import Path

import pytest

from bintally.errors import ConfigError
from bintally.registry.gates.judge import GATES
from bintally.registry.gates.settings import DEFAULT, NAMES, PromoteSettings
from bintally.training.recipe import Recipe


def test_each_gate_that_has_a_name_has_its_settings_and_its_code() -> None:
    assert set(GATES) == set(NAMES)
    assert set(PromoteSettings.model_fields) >= set(NAMES) - {"contract"}
    assert set(DEFAULT) < set(NAMES)


def test_gates_are_asked_in_one_order_each_once() -> None:
    assert PromoteSettings.of({"gates": ["size", "better", "size"]}).gates == ("better", "size")


def test_an_unknown_gate_is_an_error_with_the_nearest_names() -> None:
    with pytest.raises(ConfigError, match=r"there is no gate 'beter'\. Did you mean 'better'"):
        PromoteSettings.of({"gates": ["beter"]})
    with pytest.raises(ConfigError, match="Did you mean 'margin'"):
        PromoteSettings.of({"slices": {"margn": 0.1}})
    with pytest.raises(ConfigError, match="one count leaves nothing to choose"):
        PromoteSettings.of({"counts": "3"})


def test_a_recipe_has_the_section(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[promote]\nsplit = "val"\n[promote.better]\ncheaper = false\nmetric = "accuracy"\n')
    promote = Recipe.read(path).promote
    assert (promote.split, promote.better.cheaper, promote.better.metric) == ("val", None, "accuracy")
    assert PromoteSettings.of_recipe(path) == promote
