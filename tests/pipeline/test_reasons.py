import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bintally.artifacts import provenance_path, write_provenance
from bintally.pipeline.job import State
from bintally.pipeline.reasons import finished_at, why_it_runs

STATE = State(
    inputs={"data/split.parquet": "a" * 64},
    settings={"loop": {"epochs": 4, "workers": None}, "source": {"name": "bucket", "files": "f" * 64}},
    code="c" * 64,
    files={"training/loop.py": "1" * 64, "training/heads.py": "2" * 64},
)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A stage "train" that finished."""
    output = tmp_path / "run" / "model"
    output.parent.mkdir()
    output.write_text("weights")
    write_provenance(
        tmp_path, "train", inputs=STATE.inputs, settings=STATE.settings, code=STATE.code, outputs=[output],
        code_files=STATE.files,
    )  # fmt: skip
    return tmp_path


def _files(**changed: str) -> dict[str, Any]:
    return {
        "code": "d" * 64,
        "files": {**STATE.files, **{f"training/{name}.py": each for name, each in changed.items()}},
    }


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"inputs": {"data/split.parquet": "b" * 64}}, "input data/split.parquet changed"),
        ({"inputs": {**STATE.inputs, "x": "b" * 64}}, "input x is new"),
        ({"inputs": {}}, "input data/split.parquet is gone"),
        (
            {"settings": {**STATE.settings, "loop": {"epochs": 6, "workers": 2}}},
            "settings changed: loop.epochs 4 -> 6, loop.workers none -> 2",
        ),
        (
            {"settings": {**STATE.settings, "source": {"name": "bucket", "files": "0" * 64}}},
            "files in bucket changed",
        ),
        ({"settings": STATE.settings | {str(n): n for n in range(9)}}, r"settings changed: 0 none -> 0, .* and 6 more"),
        ({"settings": {**STATE.settings, "text": "x" * 99}}, r"settings changed: text none -> x{37}\.\.\."),
        (_files(loop="9" * 64), "code changed: training/loop.py"),
        (_files(new="9" * 64), "code changed: training/new.py"),
        (
            {"inputs": {}, "settings": {}},
            r"input data/split.parquet is gone; settings changed: loop .*, source.*",
        ),
        ({}, "something changed"),
    ],
)
def test_what_changed_is_said(workspace: Path, changed: dict[str, Any], told: str) -> None:
    assert re.fullmatch(told, why_it_runs(workspace, "train", replace(STATE, **changed)))


def test_what_is_wrong_with_the_outputs_is_said(workspace: Path) -> None:
    (workspace / "run" / "model").write_text("other")
    assert why_it_runs(workspace, "train", STATE) == "output run/model was changed since"
    (workspace / "run" / "model").unlink()
    assert why_it_runs(workspace, "train", STATE) == "output missing: run/model"
    changed = replace(STATE, inputs={"data/split.parquet": "b" * 64})
    assert why_it_runs(workspace, "train", changed) == "input data/split.parquet changed", "which took it along"


def test_a_stage_without_a_past_runs_for_the_first_time(workspace: Path) -> None:
    assert why_it_runs(workspace, "export", STATE) == "for the first time"


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"inputs": 3}', '{"inputs": {}, "settings": {}}'])
def test_a_past_that_cant_be_read_is_told(workspace: Path, damage: str) -> None:
    provenance_path(workspace, "train").write_text(damage)
    assert why_it_runs(workspace, "train", STATE) == "what is known of the last time can't be read"


def test_a_past_of_an_older_version_names_no_code(workspace: Path) -> None:
    write_provenance(workspace, "train", inputs=STATE.inputs, settings=STATE.settings, code="e" * 64, outputs=[])
    assert why_it_runs(workspace, "train", STATE) == "code changed"


def test_when_it_finished_is_told_to_the_minute(workspace: Path) -> None:
    os.utime(provenance_path(workspace, "train"), (1_790_000_000, 1_790_000_000))
    assert finished_at(workspace, "train") == "2026-09-21 14:13 UTC"
