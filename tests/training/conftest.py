"""A small split data folder of rendered bins, and a recipe that trains on it in seconds."""

import sys
from pathlib import Path
from typing import Any

import pytest

from bintally.data.check import check
from bintally.data.fetch import fetch
from bintally.data.split import split
from bintally.training.recipe import Recipe

PHOTOS = 160


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """160 rendered bins, fetched, checked and split."""
    folder = tmp_path_factory.mktemp("rendered") / "data"
    fetch(source="sample", out=folder, photos=PHOTOS, seed=3)
    check(data=folder)
    split(data=folder, fractions="60/20/20", seed=1)
    return folder


def tiny_recipe(**sections: dict[str, Any]) -> Recipe:
    """A recipe for `test_resnet` at 64 px; `sections` change it, e.g. loop={"epochs": 4}."""
    base: dict[str, Any] = {
        "network": {"backbone": "test_resnet", "weights": "none"},
        "input": {"px": 64, "cache_px": 72},
        "loop": {"epochs": 2, "batch_size": 16, "precision": "fp32"},
        "optimizer": {"body_lr": 2e-3, "head_lr": 2e-3},
    }
    merged = {name: {**base.get(name, {}), **sections.get(name, {})} for name in {*base, *sections}}
    return Recipe.of({"name": "tiny", **merged})


def run_here(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int | str | None:
    """Runs `bintally ARGUMENTS` in this process, which has imported torch; returns what a shell would be told."""
    from bintally.cli import main

    monkeypatch.setattr(sys, "argv", ["bintally", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code
