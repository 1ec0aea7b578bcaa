"""`bintally models compare`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bintally.cli.models import app
from bintally.errors import BintallyError
from tests.databases import new_registry
from tests.registry.gates.shelves import GOOD, SURE, shelf, version
from tests.registry.worlds import promoted


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photos; beside them a registry whose champion is 1, and 2 is better."""
    data = shelf(tmp_path / "data", photos=600)
    with new_registry(tmp_path / "registry") as registry:
        for name, sharpness in (("a", SURE), ("b", GOOD)):
            version(registry, tmp_path / name, sharpness, learnt=data)
        promoted(registry, "1")
    monkeypatch.setenv("BINTALLY_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.setenv("COLUMNS", "120")
    return data


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, ["compare", *map(str, arguments)])
    if isinstance(result.exception, BintallyError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_two_versions_are_shown_side_by_side(data: Path, tmp_path: Path) -> None:
    shown = run("2", "--data", data).stderr
    assert "bintally/2" in shown
    assert "bintally/1" in shown
    assert "exactly right, by" in shown
    assert "recorded count 3" in shown
    assert "bintally/2 has a log loss" in shown
    found = json.loads(run("2", "champion", "--json").stdout)
    assert found["data"] is None
    assert found["comparison"]["against"] == "bintally/1"
    assert found["sentence"] in " ".join(run("2").stderr.split())
    assert "compare.html" in run("2", "1", "--out", tmp_path / "out").stderr
