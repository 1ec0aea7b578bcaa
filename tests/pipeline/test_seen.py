"""What `bintally pipeline show` draws: in a terminal, as a page, as JSON."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from bintally.errors import UsageError
from bintally.pipeline.drawing import draw, essential, lines_of
from bintally.pipeline.lock import alone
from bintally.pipeline.page import write_page
from bintally.pipeline.records import RunRecord, StageRecord, StageStatus, write_record
from bintally.pipeline.seen import Seen
from tests.conftest import run_here

START = datetime(2026, 11, 2, 3, 15, tzinfo=UTC)


def _stage(name: str, status: StageStatus, reason: str, *, said: str = "", error: str | None = None) -> StageRecord:
    inputs, outputs = {"data/split.parquet": "a" * 64}, {f"{name}.bin": "b" * 64}
    return StageRecord(
        stage=name,
        status=status,
        reason=reason,
        started=START,
        seconds=12.0,
        said=said,
        error=error,
        inputs=inputs,
        outputs=outputs,
    )


def _run(number: int, *stages: StageRecord, **more: object) -> RunRecord:
    started = START + timedelta(days=number)
    facts = {"status": "done", "ended": started + timedelta(minutes=3), "started": started, **more}
    known = {"recipe": "nightly", "source": "/srv/photos", "by": "cron", "pid": 7, "machine": "shelf"}
    record = {"id": f"{started:%Y%m%d-%H%M%S}-aaaa", "stages": list(stages), **known, **facts}
    return RunRecord(**record)  # type: ignore[arg-type]  # a test's shorthand


GROWN = _run(
    1,
    _stage("fetch", "done", "ran: files in /srv/photos changed", said="180 photos (60 new), 0 missing, 0 broken"),
    _stage("check", "done", "ran: input data/manifest.parquet changed", said="180 usable"),
    _stage("train", "done", "ran: input data/split.parquet changed; settings changed: loop.epochs 4 -> 6"),
    _stage("promote", "done", "ran: who serves is decided in each run"),
    promoted=True,
    version="bintally/3",
)
QUIET = _run(
    2,
    _stage("fetch", "unchanged", "skipped: nothing changed since 2026-11-03 03:15 UTC"),
    _stage("gates", "skipped", "skipped: bintally/3 is the champion already"),
    _stage("promote", "skipped", "skipped: bintally/3 is the champion already"),
    promoted=False,
    version="bintally/3",
)
FAILED = _run(
    3,
    _stage("train", "failed", "ran: code changed: training/loop.py", error="No photo of count 3. [red]Fetch[/] some."),
    status="failed",
)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    for record in (GROWN, QUIET, FAILED):
        write_record(tmp_path / "nightly", record)
    return tmp_path / "nightly"


def _drawn(seen: Seen, width: int = 140) -> str:
    out = Console(file=io.StringIO(), width=width)
    draw(seen, out)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_a_run_is_told_by_what_it_did_for_a_reason_of_its_own() -> None:
    assert lines_of(GROWN) == [
        "fetch ran: files in /srv/photos changed",
        "check followed",
        "train ran: settings changed: loop.epochs 4 -> 6",
        "promote ran: who serves is decided in each run",
        "bintally/3 was promoted",
    ]
    assert lines_of(QUIET) == ["gates, promote skipped: bintally/3 is the champion already"]
    assert lines_of(_run(4, QUIET.stages[0])) == ["nothing changed"]


def test_the_graph_says_of_each_stage_what_last_became_of_it_and_when_it_ran(workspace: Path) -> None:
    seen = Seen.of(workspace, last=10)
    stages = {stage.name: stage for stage in seen.stages}
    assert [run.id for run in seen.runs] == [FAILED.id, QUIET.id, GROWN.id]
    assert stages["fetch"].last is not None
    assert (stages["fetch"].last.status, stages["fetch"].ran) == ("unchanged", GROWN.stages[0])
    assert (stages["export"].last, stages["export"].ran) == (None, None)
    text = _drawn(seen)
    assert "● fetch" in text
    assert "├─" in text
    assert "180 photos (60 new)" in text
    assert "✗ failed" in text
    assert "[red]Fetch[/]" in text, "an error is no markup"
    assert "not yet" in text


@pytest.mark.parametrize("width", [60, 80, 200])
def test_any_terminal_will_do(workspace: Path, width: int) -> None:
    assert max(map(len, _drawn(Seen.of(workspace, last=10), width).splitlines())) <= width


def test_arrows_that_others_imply_are_not_drawn(workspace: Path) -> None:
    arrows = essential(Seen.of(workspace, last=1).stages)
    assert ("split", "train") in arrows
    assert ("train", "export") in arrows
    assert ("split", "export") not in arrows
    assert ("split", "gates") not in arrows


def test_a_run_without_a_lock_was_killed_and_one_with_it_is_under_way(workspace: Path) -> None:
    write_record(workspace, _run(5, _stage("train", "running", "ran: code changed"), status="running", ended=None))
    assert Seen.of(workspace, last=1).runs[0].status == "killed"
    with alone(workspace, who="cron"):
        seen = Seen.of(workspace, last=1)
    assert seen.runs[0].status == "running"
    assert "… running" in _drawn(seen)


def test_the_page_holds_the_graph_and_every_run(workspace: Path, tmp_path: Path) -> None:
    write_page(Seen.of(workspace, last=10), tmp_path / "show.html")
    html = (tmp_path / "show.html").read_text()
    assert html.count("<rect") >= 10
    assert "settings changed: loop.epochs 4 -&gt; 6" in html
    assert all(run.id in html for run in (GROWN, QUIET, FAILED))


def test_the_command_finds_the_workspace_that_ran_last(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="No pipeline ran"):
        Seen.of(None, last=1)
    workspace.rename(tmp_path / "moved")
    (tmp_path / "runs").mkdir()
    (tmp_path / "moved").rename(tmp_path / "runs" / "nightly")
    assert Seen.of(None, last=1).workspace == "runs/nightly"


def test_the_command_draws_writes_and_prints(workspace: Path, tmp_path: Path) -> None:
    shown = run_here("pipeline", "show", workspace, "--out", tmp_path / "show.html", env={"COLUMNS": "160"})
    assert shown.returncode == 0, shown.stderr
    assert "● train" in shown.stderr
    assert (tmp_path / "show.html").is_file()
    machine = run_here("pipeline", "show", workspace, "--runs", "1", "--json")
    told = json.loads(machine.stdout)
    assert [run["id"] for run in told["runs"]] == [FAILED.id]
    assert told["stages"][4]["last"]["error"].startswith("No photo of count 3")
    nowhere = run_here("pipeline", "show", tmp_path / "nowhere")
    assert (nowhere.returncode, "No pipeline ran in" in nowhere.stderr) == (2, True)
