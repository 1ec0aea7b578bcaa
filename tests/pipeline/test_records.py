"""Runs are written down as they happen, one at a time in a workspace."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from bintally.errors import ConflictError, DataError
from bintally.pipeline import run_pipeline
from bintally.pipeline.lock import alone, is_held
from bintally.pipeline.records import RECORD, RUNS, RunRecord, new_record, read_records, user_name, write_record
from tests.pipeline.conftest import quick_recipe


def _run(workspace: Path, source: Path, **more: str) -> RunRecord:
    run_pipeline(recipe=quick_recipe(), source=str(source), workspace=workspace, **more)  # type: ignore[arg-type]
    return read_records(workspace)[0]


def test_the_first_run_names_inputs_outputs_times_and_reasons(finished: Path) -> None:
    [record] = read_records(finished)
    assert (record.status, record.recipe, record.by, record.pid) == ("done", "tiny", user_name(), os.getpid())
    assert record.ended is not None
    assert record.ended >= record.started
    train = next(stage for stage in record.stages if stage.stage == "train")
    assert (train.status, train.reason) == ("done", "ran: for the first time")
    assert set(train.inputs) == {"data/split.parquet"}
    assert {"run/model.safetensors", "run/run.json"} <= set(train.outputs)
    assert all(len(digest) == 64 for digest in (*train.inputs.values(), *train.outputs.values(), train.code))
    assert train.settings["loop"]["epochs"] == 1
    assert "epoch 1 of 1 kept" in train.said
    assert train.seconds > 0


def test_a_second_run_says_since_when_nothing_changed(workspace: Path, source: Path) -> None:
    record = _run(workspace, source)
    assert {stage.status for stage in record.stages} == {"unchanged"}
    assert all(stage.reason.startswith("skipped: nothing changed since 20") for stage in record.stages)
    assert len(read_records(workspace)) == 2


def test_what_was_asked_for_is_the_reason(workspace: Path, source: Path) -> None:
    [stage] = _run(workspace, source, only="split").stages
    assert stage.reason == "ran: asked for (--only split)"


def test_a_failed_run_is_written_down_with_its_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        _run(tmp_path / "w", tmp_path / "empty")
    [record] = read_records(tmp_path / "w")
    assert (record.status, record.stages[0].status) == ("failed", "failed")
    assert "is empty" in (record.stages[0].error or "")
    assert "Stage 'fetch' stopped the run" in (record.error or "")


def test_a_second_run_in_a_workspace_is_told_who_is_at_it(tmp_path: Path, source: Path) -> None:
    assert not is_held(tmp_path)
    with alone(tmp_path, who="Mia (process 7)"):
        assert is_held(tmp_path)
        with pytest.raises(ConflictError, match=r"Mia \(process 7\) is running the pipeline in"):
            _run(tmp_path, source)
    assert not is_held(tmp_path)
    assert read_records(tmp_path) == []


def test_looking_at_the_lock_never_stops_a_run(tmp_path: Path) -> None:
    for _ in range(200):
        is_held(tmp_path)
        with alone(tmp_path, who="a run"):
            assert is_held(tmp_path)


def test_a_killed_run_is_known_as_such_to_the_next_one(workspace: Path, source: Path) -> None:
    recipe = workspace.parent / "slow.toml"
    recipe.write_text(
        'name = "tiny"\n[split]\nfractions = "60/20/20"\nseed = 1\n[network]\nbackbone = "test_resnet"\n'
        'weights = "none"\n[input]\npx = 64\ncache_px = 72\n[loop]\nepochs = 400\n'
    )
    command = [
        sys.executable,
        "-m",
        "bintally",
        "pipeline",
        "run",
        recipe,
        "--source",
        source,
        "--workspace",
        workspace,
    ]
    process = subprocess.Popen([str(part) for part in command], stderr=subprocess.DEVNULL)
    try:
        _wait_for(workspace, "train")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not is_held(workspace)
    _run(workspace, source, only="split")
    killed = read_records(workspace)[1]
    assert (killed.status, killed.ended) == ("killed", None)
    assert [stage.status for stage in killed.stages] == ["unchanged"] * 4 + ["killed"]
    assert "loop.epochs 1 -> 400" in killed.stages[-1].reason


def _wait_for(workspace: Path, stage: str) -> None:
    """Until a run is in `stage`."""
    for _ in range(1200):
        record = read_records(workspace)[0]
        if record.status == "running" and record.stages and record.stages[-1].stage == stage:
            assert is_held(workspace)
            return
        time.sleep(0.05)
    pytest.fail(f"no run came to {stage}")


def test_a_damaged_record_hides_no_other(tmp_path: Path) -> None:
    write_record(tmp_path, new_record("tiny", "bucket", by="mia"))
    damaged = tmp_path / RUNS / "20990101-000000-dead" / RECORD
    damaged.parent.mkdir()
    damaged.write_bytes(b'{"id":')
    assert [record.recipe for record in read_records(tmp_path)] == ["tiny"]


def test_logins_are_never_written_down(tmp_path: Path) -> None:
    recipe = quick_recipe(fetch={"retries": 0, "timeout_s": 1.0, "ids": "00001-00003", "endpoint": "http://u:hush@h/"})
    with pytest.raises(DataError) as caught:
        run_pipeline(recipe=recipe, source="http://mia:hush@127.0.0.1:9/bins?sig=hush", workspace=tmp_path)
    assert "hush" not in str(caught.value)
    [record] = read_records(tmp_path)
    assert record.source == "http://127.0.0.1:9/bins"
    assert b"hush" not in msgspec.json.encode(record)
    written = [path for path in tmp_path.rglob("*") if path.is_file() and b"hush" in path.read_bytes()]
    assert written == []
