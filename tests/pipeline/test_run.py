import json
from pathlib import Path
from typing import Any

import pytest

from bintally.bundle import Bundle
from bintally.data.rendered import render_source
from bintally.errors import BintallyError, ConfigError, DataError, UsageError
from bintally.pipeline import STAGES, Job, PipelineReport, run_pipeline
from bintally.pipeline.stages import source_state
from bintally.training.network import WEIGHTS
from tests.pipeline.conftest import quick_recipe

NAMES = [stage.name for stage in STAGES]


def _statuses(report: PipelineReport) -> dict[str, str]:
    return {result.stage: result.status for result in report.stages}


def test_a_run_ends_in_a_bundle_and_a_report(finished: Path) -> None:
    Bundle.open(finished / "bundle")
    judged = json.loads((finished / "report" / "metrics.json").read_text())
    assert judged["population"]["judged"] > 0
    assert judged["blind"]
    assert "<html" in (finished / "report" / "report.html").read_text()
    assert [stage["stage"] for stage in json.loads((finished / "pipeline.json").read_text())["stages"]] == NAMES


def test_unchanged_stages_are_skipped_and_say_so(workspace: Path, source: Path) -> None:
    heard: list[Any] = []
    report = run_pipeline(recipe=quick_recipe(), source=str(source), workspace=workspace, on_stage=heard.append)
    assert _statuses(report) == dict.fromkeys(NAMES, "unchanged")
    assert heard == report.stages


def test_a_changed_setting_redoes_its_stage_and_what_follows_from_it(workspace: Path, source: Path) -> None:
    changed = quick_recipe(export={"licence": "mine"})
    statuses = _statuses(run_pipeline(recipe=changed, source=str(source), workspace=workspace))
    assert statuses["train"] == "unchanged"
    assert statuses["evaluate"] == "done"
    assert Bundle.open(workspace / "bundle").card.licence == "mine"


def test_other_weights_in_an_ensemble_redo_its_export(tmp_path: Path) -> None:
    export = next(stage for stage in STAGES if stage.name == "export")
    job = Job(quick_recipe(export={"ensemble": (tmp_path,)}), "sample", tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"first")
    before = export.settings(job)
    assert export.settings(job) == before
    (tmp_path / WEIGHTS).write_bytes(b"second")
    assert export.settings(job) != before


def test_a_damaged_result_is_made_again(workspace: Path, source: Path) -> None:
    (workspace / "report" / "report.html").write_text("half")
    statuses = _statuses(run_pipeline(recipe=quick_recipe(), source=str(source), workspace=workspace))
    assert [name for name, status in statuses.items() if status == "done"] == ["evaluate"]


def test_only_and_from(workspace: Path, source: Path) -> None:
    only = run_pipeline(recipe=quick_recipe(), source=str(source), workspace=workspace, only="split")
    assert _statuses(only) == {"split": "done"}
    later = run_pipeline(recipe=quick_recipe(), source=str(source), workspace=workspace, from_stage="train")
    assert _statuses(later) == {"train": "done", "export": "done", "evaluate": "done"}
    assert later.stages[0].report is not None
    assert later.stages[0].report["resumed_at_step"] == 0, "anew is not a resume of what was finished"


def test_a_failing_stage_stops_the_run_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    heard: list[Any] = []
    with pytest.raises(DataError, match="Stage 'fetch' stopped the run"):
        run_pipeline(
            recipe=quick_recipe(), source=str(tmp_path / "empty"), workspace=tmp_path / "w", on_stage=heard.append
        )
    assert heard == []
    assert not (tmp_path / "w" / "data" / "manifest.parquet").exists()


def test_only_without_what_it_needs_says_so(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"needs .*split\.parquet.*earlier stages"):
        run_pipeline(recipe=quick_recipe(), source=str(source), workspace=tmp_path, only="train")


@pytest.mark.parametrize("options", [{"only": "trian"}, {"from_stage": "trian"}])
def test_unknown_stage_says_which_was_meant(source: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="Did you mean 'train'"):
        run_pipeline(recipe=quick_recipe(), source=str(source), workspace=tmp_path, **options)


def test_no_source_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--source"):
        run_pipeline(recipe=quick_recipe(), workspace=tmp_path)


def test_a_new_photo_in_the_source_is_noticed(tmp_path: Path) -> None:
    folder = render_source(tmp_path / "bucket", photos=3)
    before = source_state(str(folder))
    assert source_state(str(folder)) == before
    (folder / "bin-images" / "99999.jpg").write_bytes(b"new")
    assert source_state(str(folder)) != before


def test_errors_of_stages_keep_their_kind_and_exit_code(tmp_path: Path) -> None:
    with pytest.raises(BintallyError) as caught:
        run_pipeline(recipe=quick_recipe(), source=str(tmp_path / "nowhere"), workspace=tmp_path / "w")
    assert caught.value.exit_code in (2, 3)
    assert caught.value.hint
