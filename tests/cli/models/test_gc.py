"""`bintally models gc`."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bintally.cli.models import app
from bintally.errors import BintallyError
from bintally.registry.place import SETTINGS
from tests.bundles import make_bundle


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four versions, the second one the champion; the newest one stays besides."""
    held = tmp_path / "registry"
    monkeypatch.setenv("BINTALLY_REGISTRY", str(held))
    monkeypatch.setenv("BINTALLY_AS", "rita")
    monkeypatch.setenv("COLUMNS", "120")
    run("init", held)
    for number in range(1, 5):
        run("register", make_bundle(tmp_path / str(number), sharpness=1.0 + number))
    run("promote", "2", "--force", "--reason", "the first one")
    (held / SETTINGS).write_text("[retention]\nnewest = 1\ndays = 0\n")
    return held


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, BintallyError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def told(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def test_what_goes_and_what_stays_is_told_before_it_does(place: Path) -> None:
    dry = run("gc", "--dry-run").stderr
    assert "it is the champion" in dry
    assert "the newest one" in dry
    assert "bintally/3 retired" in dry
    assert "nobody needs it" in dry
    assert "would go" in dry
    would = told("gc", "--dry-run")
    assert (would["is_dry"], would["retired"]) == (True, ["bintally/3", "bintally/1"])
    assert len(list((place / "bundles").iterdir())) == 4
    assert "MB removed" in run("gc").stderr
    assert len(list((place / "bundles").iterdir())) == 2
    assert "There is nothing to remove" in run("gc").stderr
    assert told("gc")["goes"] == []


def test_a_version_without_its_bundle_is_listed_as_such(place: Path) -> None:
    run("gc")
    listed = {each["version"]: (each["state"], each["has_bundle"]) for each in told("list")}
    assert listed["bintally/1"] == ("Retired", False)
    assert listed["bintally/2"] == ("Approved", True)
    assert "removed" in run("list").stderr
    assert "removed" in run("show", "1").stderr
    assert told("show", "1")["has_bundle"] is False
