"""The seam of progress: silence is a Progress, and so are the command line's bars."""

import io

import pytest
from rich.console import Console

from bintally.cli.common import RichProgress
from bintally.progress import SILENT, Progress


def _work(progress: Progress) -> None:
    with progress.task("decode", total=3, unit="photos") as task:
        for _ in range(3):
            task.advance()
        task.note("all fine")
    progress.say("done")


def test_silence_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    _work(SILENT)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_bars_show_what_is_done_and_leave_what_was_said() -> None:
    screen = io.StringIO()
    _work(RichProgress(Console(file=screen, width=120)))
    assert "decode" in screen.getvalue()
    assert "3/3 photos" in screen.getvalue()
    assert "all fine" in screen.getvalue()
    assert screen.getvalue().endswith("done\n")


def test_a_task_that_fails_lets_its_error_through() -> None:
    with pytest.raises(ValueError, match="broken"), SILENT.task("decode", total=None) as task:
        task.advance(5)
        raise ValueError("broken")
