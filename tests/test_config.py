"""Settings are strict, and a wrong key says what was meant."""

from pathlib import Path
from typing import Self

import pytest
from pydantic import Field, model_validator

from bintally.config import Config
from bintally.errors import ConfigError


class Optimizer(Config):
    """A section."""

    learning_rate: float = Field(2e-4, gt=0)


class Recipe(Config):
    """Settings with a section."""

    epochs: int = Field(5, ge=1)
    name: str
    optimizer: Optimizer = Optimizer(learning_rate=1e-3)


class Schedule(Config):
    """Settings with a list of sections, and a rule for several settings together."""

    steps: tuple[Optimizer, ...] = ()
    halves: int = 0

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if len(self.steps) < self.halves:
            raise ValueError("fewer steps than halves")
        return self


def _told(values: dict[str, object], **where: str) -> str:
    with pytest.raises(ConfigError) as caught:
        Recipe.of(values, **where)
    return str(caught.value)


def test_good_settings_are_built_with_their_defaults() -> None:
    recipe = Recipe.of({"name": "baseline", "optimizer": {"learning_rate": 0.1}})
    assert (recipe.epochs, recipe.optimizer.learning_rate) == (5, 0.1)


def test_a_wrong_key_says_what_was_meant() -> None:
    assert _told({"name": "x", "epoch": 3}) == "unknown key 'epoch'. Did you mean 'epochs'?"


def test_a_wrong_key_in_a_section_says_what_was_meant_there() -> None:
    told = _told({"name": "x", "optimizer": {"learnign_rate": 1}})
    assert told == "unknown key 'optimizer.learnign_rate'. Did you mean 'learning_rate'?"


def test_a_key_like_nothing_known_lists_what_is() -> None:
    assert _told({"name": "x", "zzz": 1}) == "unknown key 'zzz'. Known: epochs, name, optimizer."


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "'name' is missing."),
        ({"name": "x", "epochs": 0}, "'epochs': Input should be greater than or equal to 1 (got 0)."),
        ({"name": "x", "epochs": "many"}, "'epochs': Input should be a valid integer"),
        ({"name": "x", "optimizer": {"learning_rate": -1}}, "'optimizer.learning_rate': "),
        ({"name": "x", "optimizer": 3}, "'optimizer': "),
    ],
)
def test_a_wrong_value_is_named_with_its_key(values: dict[str, object], told: str) -> None:
    assert told in _told(values)


def test_every_mistake_is_told_at_once_with_where_it_stands() -> None:
    told = _told({"epoch": 3, "epochs": 0}, where="baseline.toml")
    assert told.startswith("baseline.toml: ")
    assert "'name' is missing" in told
    assert "'epoch'" in told
    assert "'epochs': " in told


def test_a_recipe_is_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('name = "baseline"\n[optimizer]\nlearning_rate = 0.01\n')
    assert Recipe.from_toml(path).optimizer.learning_rate == 0.01


def test_a_wrong_recipe_names_its_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('name = "x"\nepoch = 3\n')
    with pytest.raises(ConfigError, match=r"recipe\.toml: unknown key 'epoch'"):
        Recipe.from_toml(path)


@pytest.mark.parametrize("text", [b"name = ", b"\xff\xfe\x00"])
def test_what_is_no_toml_is_told(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match="can't be read as TOML"):
        Recipe.from_toml(path)


def test_a_missing_recipe_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no .*nowhere\.toml") as missing:
        Recipe.from_toml(tmp_path / "nowhere.toml")
    assert missing.value.hint == Recipe.if_missing, "a policy's words once were about recipes"


def test_settings_that_do_not_go_together_are_told_in_one_sentence() -> None:
    """Once all settings were printed as Python prints a dict, after "'the settings': Value error"."""
    with pytest.raises(ConfigError, match=r"^x\.toml: fewer steps than halves\.$"):
        Schedule.of({"steps": [], "halves": 1}, where="x.toml")


def test_a_wrong_key_in_a_list_of_sections_says_what_was_meant_there() -> None:
    """Once the sections of a list had no known keys at all."""
    with pytest.raises(ConfigError, match=r"'steps\.0\.learning_rat'\. Did you mean 'learning_rate'\?"):
        Schedule.of({"steps": [{"learning_rat": 0.1}]})


def test_settings_are_frozen() -> None:
    recipe = Recipe.of({"name": "x"})
    with pytest.raises(ValueError, match="frozen"):
        recipe.epochs = 7
