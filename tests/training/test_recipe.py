from pathlib import Path

import pytest

from bintally.errors import ConfigError
from bintally.training.recipe import Recipe
from tests.conftest import ROOT


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").rglob("*.toml")), ids=lambda path: path.stem)
def test_recipes_that_come_along_are_valid_and_named_as_their_file(path: Path) -> None:
    assert Recipe.read(path).name == path.stem


def test_wrong_key_says_which_was_meant_and_where(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('name = "r"\n[network]\nbackbnoe = "resnet18"\n')
    with pytest.raises(ConfigError, match=r"r\.toml.*unknown key 'network\.backbnoe'.*Did you mean 'backbone'"):
        Recipe.read(path)


def test_wrong_section_says_which_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('name = "r"\n[optimiser]\nbody_lr = 1e-3\n')
    with pytest.raises(ConfigError, match="Did you mean 'optimizer'"):
        Recipe.read(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name = "r"\n[loop]\nepochs = 0\n', "loop.epochs"),
        ('name = "r"\ncounts = "1-9"\n', "counts"),
        ('name = "r"\n[evaluate]\ncounts = "1-9"\n', "evaluate.counts"),
        ('name = "r"\ncounts = "1-5"\n[evaluate]\ncounts = "0-5"\n', "asks about 0"),
        ('name = "r"\n[network]\ntune = "last"\n', "network.tune"),
        ('name = "r"\n[loop]\naverage = 1.0\n', "loop.average"),
        ('name = "r"\n[augment]\nmixpu = 0.2\n', "Did you mean 'mixup'"),
        ('name = "r"\n[teachr]\nruns = ["a"]\n', "Did you mean 'teacher'"),
        ('name = "r"\n[teacher]\nruns = ["a"]\n[network]\ntune = "head"\n', "teacher.runs needs photos"),
        ('name = "r"\n[augment]\ncutmix = 1\n[network]\ntune = "head"\n', "mixing needs photos"),
        ('name = "r"\n[loop]\nmonitor = "change_log_loss"\n', "needs network.tells = ['change']"),
        ('name = "r"\n[network]\ntells = ["chnge"]\n', "network.tells"),
        ('name = "r"\n[augment]\ncutmix = 1\n[network]\ntells = ["change"]\n', "augment's mixing does not go"),
        ('name = "r"\n[balance]\nmethod = "undersample"\n[network]\ntells = ["record"]\n', "balance.method"),
        ('name = "r"\n[network]\ntells = ["change"]\ntune = "head"\n', "network.tune = 'head' does not go"),
        ("name = \n", "can't be read as TOML"),
        ("", "'name' is missing"),
    ],
)
def test_wrong_values_name_their_key(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Recipe.read(path)
    assert words in str(caught.value)


def test_missing_recipe_says_where_others_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="recipes/"):
        Recipe.read(tmp_path / "no.toml")


def test_paths_are_relative_to_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "r.toml"
    path.parent.mkdir()
    path.write_text(
        'name = "r"\n[network]\nweights = ["../w/a.safetensors", "b.safetensors", "hub"]\nstart = "../old"\n'
        '[teacher]\nruns = ["../t"]\n'
    )
    assert Recipe.read(path).teacher.runs == (path.parent / "../t",)
    network = Recipe.read(path).network
    assert network.weights == (str(tmp_path / "w" / "a.safetensors"), "b.safetensors", "hub")
    assert network.start == path.parent / "../old"


def test_network_tells_apart_the_counts_it_is_trained_on() -> None:
    assert Recipe.of({"name": "r", "counts": "1-5"}).count_keys == ("1", "2", "3", "4", "5")
    assert Recipe.of({"name": "r", "evaluate": {"counts": "1-5"}}).asked_keys == ("1", "2", "3", "4", "5")
