"""A tiny recipe's workspace, run once, and a registry."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from bintally.data.rendered import render_source
from bintally.pipeline import run_pipeline
from bintally.training.recipe import Recipe
from tests.training.conftest import tiny_recipe


def quick_recipe(**sections: Any) -> Recipe:
    """A recipe that trains for an epoch on 72 photos; `sections` change it."""
    split = {"fractions": "60/20/20", "seed": 1}
    sections = {"split": split, "loop": {"epochs": 1}, "evaluate": {"resamples": 100, "gallery": 2}, **sections}
    return tiny_recipe(**sections)


@pytest.fixture(scope="package")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 rendered photos. Never changed."""
    return render_source(tmp_path_factory.mktemp("source") / "bucket", photos=120, seed=5)


@pytest.fixture(scope="package")
def finished(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace after one whole run. Never changed."""
    folder = tmp_path_factory.mktemp("pipeline") / "runs"
    report = run_pipeline(recipe=quick_recipe(), source=str(source), workspace=folder)
    assert all(result.status == "done" for result in report.stages)
    return folder


@pytest.fixture
def workspace(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished workspace, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "runs"))
