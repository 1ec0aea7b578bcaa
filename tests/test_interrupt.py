"""Ctrl-C as each stage begins, in a real pipeline process (fetch has tests of its own): nothing half-written."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bintally.pipeline import STAGES

NAMES = tuple(stage.name for stage in STAGES)

RECIPE = """
name = "tiny"
[split]
fractions = "60/20/20"
seed = 1
[network]
backbone = "test_resnet"
weights = "none"
[input]
px = 64
cache_px = 72
[loop]
epochs = 1
precision = "fp32"
[evaluate]
resamples = 100
gallery = 2
"""


def _start(recipe: Path, source: Path, workspace: Path) -> "subprocess.Popen[str]":
    # A shell's background job starts with Ctrl-C ignored; this process may be one, its child must not.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from bintally.cli import main; main()"
    )
    arguments = ["pipeline", "run", str(recipe), "--source", str(source), "--workspace", str(workspace)]
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
    )


def _run_until(process: "subprocess.Popen[str]", finished_stage: str) -> str:
    """Reads what the process says until it says that a stage is over, or ends."""
    said = []
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if f" {finished_stage} " in line and line.startswith(("✓", "=")):
            break
    return "".join(said)


@pytest.mark.parametrize(
    "after", [("fetch", "split", "train"), pytest.param(NAMES[:-1], marks=pytest.mark.soak)], ids=["some", "each"]
)
def test_ctrl_c_in_a_stage_leaves_nothing_half_written_and_the_next_run_goes_on(
    tmp_path: Path, after: tuple[str, ...]
) -> None:
    from bintally.data.rendered import render_source

    source = render_source(tmp_path / "bucket", photos=120, seed=5)
    recipe, workspace = tmp_path / "tiny.toml", tmp_path / "runs"
    recipe.write_text(RECIPE)
    stopped = 0
    for before in after:
        process = _start(recipe, source, workspace)
        said = _run_until(process, before)
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=120)
        # -SIGINT: all was done, and the signal met a Python that was already going. -SIGSEGV: seen once in some twenty
        # stops, with nothing said; which library crashes on a signal is not known. What is on disk must be right, too.
        assert process.returncode in (130, 0, -signal.SIGINT, -signal.SIGSEGV), said + rest
        stopped += process.returncode == 130
        # Within a weak reference's callback Python lets go of whatever is raised, Ctrl-C too, and says so.
        assert "Exception ignored in" in said + rest or "Traceback" not in said + rest, said + rest
        assert process.returncode != 130 or "Run the same command again" in rest
        assert not list(workspace.rglob("*.tmp")), "something half-written was left behind"
    assert stopped >= len(after) // 2, "too late to interrupt anything"
    process = _start(recipe, source, workspace)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert (workspace / "report" / "report.html").is_file()
