"""`bintally follow` as a person and as a machine use it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import run_here

LINES = """{"event": "photo", "time": 3, "id": "[b].jpg", "previous": "a.jpg", "change": {"4": {"3": 0.9, "4": 0.1}}, \
"change_prior": {"4": {"3": 0.5, "4": 0.5}}}
{"event": "counted", "time": 1, "count": 4}
{"event": "photo", "time": 1.5, "id": "a.jpg"}
{"event": "picked", "time": 2, "quantity": 1}
"""


@pytest.fixture
def events(tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl"
    path.write_text(LINES)
    return path


def test_a_person_gets_a_table_in_order_of_time(events: Path) -> None:
    ended = run_here("follow", events, env={"COLUMNS": "120"})
    assert (ended.returncode, ended.stdout) == (0, "")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in ended.stderr.splitlines() if "│" in line]
    assert [row[:3] for row in rows] == [
        ["1", "counted 4", "4"],
        ["1.5", "photo a.jpg, tells nothing", "4"],
        ["2", "picked 1", "3"],
        ["3", "photo [b].jpg, with the one before", "3"],
    ]
    assert rows[2][-1].endswith("%")
    assert "as recorded" in ended.stderr


def test_a_machine_gets_one_document_also_from_stdin(events: Path) -> None:
    ended = run_here("follow", events, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    piped = subprocess.run(
        [sys.executable, "-m", "bintally", "follow", "-", "--json"],
        input=LINES,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert piped.stdout == ended.stdout
    [followed] = json.loads(ended.stdout)["bins"]
    last = followed["events"][-1]
    assert (last["count"], last["used"]) == (3, "change")
    assert followed["events"][2]["as_recorded"] > 0.95


def test_a_bad_line_is_a_sentence_with_its_number(events: Path) -> None:
    events.write_text(LINES + '{"event": "stowd", "time": 4, "quantity": 1}\n')
    ended = run_here("follow", events)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert f"{events}, line 5: There is no event 'stowd'." in ended.stderr
    assert "Did you mean 'stowed'?" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_help_has_an_example() -> None:
    ended = run_here("follow", "--help")
    assert ended.returncode == 0
    assert "Example:" in ended.stdout
    assert '{"event": "counted", "time": 1, "count": 4}' in ended.stdout
