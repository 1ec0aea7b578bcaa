"""Nights and MLflow: each training is logged once; a tracking server that is away stops nothing, and is told later."""

import json
from pathlib import Path
from typing import Any

import pytest

from bintally.pipeline import PipelineReport, run_pipeline
from bintally.pipeline.words import headline
from bintally.registry.place import Registry
from bintally.registry.rollback import rollback
from bintally.registry.tracking.reached import reached
from bintally.registry.versions import version_of
from tests.databases import new_registry
from tests.pipeline.conftest import quick_recipe
from tests.registry.tracking.conftest import fresh_store
from tests.registry.tracking.tracked import place_with

__all__ = ["fresh_store"]

EASY: dict[str, Any] = {"gates": ("contract", "size")}


@pytest.fixture
def registry(tmp_path: Path, fresh_store: Path) -> Path:
    """A registry whose MLflow is the SQLite file beside it."""
    place_with(tmp_path / "registry", fresh_store).close()
    return tmp_path / "registry"


def _night(workspace: Path, source: Path, registry: Path, **sections: Any) -> tuple[PipelineReport, dict[str, Any]]:
    """What a run says, and what its stage `register` does."""
    recipe = quick_recipe(promote=EASY, **sections)
    report = run_pipeline(recipe=recipe, source=str(source), workspace=workspace, registry=registry, by="night")
    [stage] = [result for result in report.stages if result.stage == "register"]
    return report, {"reason": stage.reason, **(stage.report or {})}


def _shown(registry: Path) -> tuple[list[str], dict[str, str]]:
    """MLflow's runs, and its champion's number."""
    with Registry.open(registry) as opened, reached(opened) as tracker:
        experiment = tracker.client.get_experiment_by_name("bintally")
        found = [] if experiment is None else tracker.client.search_runs([experiment.experiment_id])
        aliases = tracker.client.get_registered_model("bintally").aliases
        return [run.info.run_id for run in found], {name: str(number) for name, number in aliases.items()}


def test_each_training_is_logged_once_and_the_champion_mirrored(workspace: Path, source: Path, registry: Path) -> None:
    first, told = _night(workspace, source, registry)
    assert first.promoted
    assert headline("register", told) == f"bintally/1 (new), logged as {told['run_id']}"
    with Registry.open(registry) as opened, opened.read() as connection:
        assert version_of(connection, "1").run_id == told["run_id"]
    assert _shown(registry) == ([told["run_id"]], {"champion": "1"})
    _, quiet = _night(workspace, source, registry)
    assert quiet["reason"].startswith("skipped: nothing changed since")
    _, exported = _night(workspace, source, registry, export={"licence": "mine"})
    assert (exported["version"], exported["run_id"]) == ("bintally/2", told["run_id"]), "the same training"
    with Registry.open(registry) as opened:
        rollback(opened, by="mia", reason="counts look odd")
    _night(workspace, source, registry, export={"licence": "mine"})
    assert _shown(registry) == ([told["run_id"]], {"champion": "1"}), "a rollback is told by the next run"


def test_a_tracking_server_that_is_away_is_told_the_next_night(
    workspace: Path, source: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://night:hush@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    first, told = _night(workspace, source, registry)
    assert (first.promoted, told["run_id"]) == (True, None)
    assert "not logged to MLflow: MLflow (http://127.0.0.1:9) can't be told" in headline("register", told)
    assert "hush" not in json.dumps(told)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    second, later = _night(workspace, source, registry)
    assert (second.promoted, later["reason"]) == (False, "ran: its training was not logged yet")
    assert _shown(registry) == ([later["run_id"]], {"champion": "1"})


def test_tracking_that_is_switched_off_is_asked_for_nothing(workspace: Path, source: Path, tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    new_registry(registry).close()
    (registry / "registry.toml").write_text('tracking = "off"\n')
    first, told = _night(workspace, source, registry)
    assert (first.promoted, told["not_logged"]) == (True, "tracking is switched off")
    _, quiet = _night(workspace, source, registry)
    assert quiet["reason"].startswith("skipped: nothing changed since")
    assert not (registry / "tracking").exists()
