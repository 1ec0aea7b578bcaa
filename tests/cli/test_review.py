"""`bintally review` as people and programs use it: a real ledger, a pipe, a pseudo-terminal."""

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bintally.database.types import now
from bintally.inventory import schema
from bintally.inventory.ledger import Ledger
from tests.conftest import run_here
from tests.databases import new_ledger
from tests.inventory.review.desks import column, opened
from tests.inventory.worlds import World


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A ledger with three doubtful bins, A-1 worth most, and one drawn for a blind check."""
    place = tmp_path / "ledger.sqlite"
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"not looked at")
    with new_ledger(place) as ledger, ledger.write() as connection:
        world = World.new(connection)
        for code, value in (("A-1", 90.0), ("A-2", 80.0), ("A-3", 70.0)):
            opened(world, world.judged(code, value=value), value=value, at=now())
        drawn = world.judged("secret", outcome="match", recorded=7, count=6, blind=True, value=12345.0)
        opened(world, drawn, value=1.0, at=now())
        photos = schema.Photo.__table__
        connection.execute(photos.update().values(place=str(photo)))  # type: ignore[attr-defined]
    return place


def _piped(place: Path, text: str, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "bintally", "review", "--ledger", str(place), "--as", "rita", *options],
        input=text, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def _typed(place: Path, text: str, *options: str) -> "subprocess.CompletedProcess[str]":
    return run_here("review", "--ledger", place, "--as", "rita", *options, typed=text)


def _rows(place: Path, table: Any, name: str) -> list[object]:
    with Ledger.open(place) as ledger, ledger.read() as connection:
        return column(connection, table, name)


def test_a_session_from_a_pipe_decides_one_bin_after_the_other(place: Path) -> None:
    done = _piped(place, "a # fine\nc 3\nwhat\nc 3 4\nr\nc 7\n")
    assert done.returncode == 0, done.stderr
    for shown in (
        "Bin A-1 of STR1", "4 x Product B-90.0 [B-90.0] at 90.00 EUR", "3 items; the record is right with 2.0%",
        "The photo looks like 3, the record says 4.", "photo.jpg (taken 2026-03-02 09:00 UTC)",
        "Accepted: the record is right.", "Corrected.", "'what' says nothing here", "is no count of a product",
        "Somebody else counts.", "Nothing waits for you.", "1 are being looked at, or need somebody else.",
        "Done: 1 accept, 1 correct, 1 recount, 1 count.",
    ):  # fmt: skip
        assert shown in " ".join(done.stderr.split()), f"{shown!r} is not in\n{done.stderr}"
    assert _rows(place, schema.Decision, "kind") == ["accept", "correct", "recount", "accept"]
    assert _rows(place, schema.Decision, "note")[0] == "fine"
    secret = done.stderr[done.stderr.index("Bin secret") :]
    assert "12,345" not in done.stderr
    assert "7 items" not in secret
    assert "Accepted" not in secret


def test_a_number_with_more_behind_it_is_no_count(place: Path) -> None:
    # "9 x" was once taken for a correction to 9.
    done = _typed(place, "9 x\n12 3\nq\n")
    assert "'9 x' says nothing here." in done.stderr
    assert "'12 3' says nothing here." in done.stderr
    assert _rows(place, schema.Decision, "kind") == []


def test_skip_undo_and_quit(place: Path) -> None:
    done = _typed(place, "s\nz\nc 3\nz\n3\nq\n")
    assert done.returncode == 0, done.stderr
    assert "nothing to undo in this session" in done.stderr
    # A-1 is skipped; A-2 is corrected, undone, shown again at once, and corrected by a bare number.
    shown = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("Bin ")]
    assert shown == ["A-1", "A-2", "A-3", "A-2", "A-3"]
    assert _rows(place, schema.Decision, "kind") == ["correct", "undo", "correct"]
    assert _rows(place, schema.Review, "lease_person_id") == [None] * 4, "what was open is given back"


def test_the_photo_is_opened_by_the_viewer_that_was_named(place: Path, tmp_path: Path) -> None:
    viewer = tmp_path / "viewer"
    viewer.write_text(f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/opened\n')
    viewer.chmod(0o755)
    done = _piped(place, "q\n", "--viewer", str(viewer))
    assert done.returncode == 0, done.stderr
    for _ in range(100):
        if (tmp_path / "opened").is_file() and (tmp_path / "opened").read_text():
            break
        time.sleep(0.05)
    assert (tmp_path / "opened").read_text() == str(tmp_path / "photo.jpg")
    missing = _typed(place, "q\n", "--viewer", str(tmp_path / "no-such-viewer"))
    assert "can't be started" in missing.stderr
    assert missing.returncode == 0


def test_a_session_in_a_real_terminal(place: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "DISPLAY": "", "WAYLAND_DISPLAY": "", "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-m", "bintally", "review", "--ledger", str(place), "--as", "rita"]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    seen = ""
    for answer in ("a", "q"):
        seen += _until(ours, "> ")
        os.write(ours, f"{answer}\n".encode())
    seen += _until(ours, None)
    assert process.wait(timeout=60) == 0
    os.close(ours)
    assert "A-1" in seen
    assert "Accepted" in seen
    assert "1 accept" in seen
    assert _rows(place, schema.Decision, "kind") == ["accept"]


def _until(terminal: int, prompt: str | None) -> str:
    """What is written until the prompt stands at the end (None: until the other side is gone)."""
    seen = b""
    while prompt is None or not seen.endswith(prompt.encode()):
        try:
            part = os.read(terminal, 4096)
        except OSError:  # Linux's way to say that nobody writes any more
            break
        if not part:
            break
        seen += part
    return seen.decode()


def test_an_empty_queue_is_said_and_is_no_error(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "l.sqlite") as ledger, ledger.write() as connection:
        World.new(connection)
    done = _typed(tmp_path / "l.sqlite", "")
    assert done.returncode == 0
    assert "Nothing waits for you." in done.stderr
    taken = run_here("review", "take", "--ledger", tmp_path / "l.sqlite", "--as", "rita", "--json")
    assert (taken.returncode, taken.stdout.strip()) == (1, "null")


def test_a_program_takes_decides_undoes_approves_and_exports(place: Path, tmp_path: Path) -> None:
    def told(*arguments: str | Path, person: str = "rita") -> Any:
        done = run_here("review", *arguments, "--json", env={"BINTALLY_LEDGER": str(place), "BINTALLY_AS": person})
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    listed = told("list", "--not-blind")
    assert listed["counts"]["open"] == 4
    assert [row["bin"] for row in listed["reviews"]] == ["A-1", "A-2", "A-3"]
    taken = told("take")
    assert (taken["review"]["bin"], taken["review"]["recorded_count"]) == ("A-1", 4)
    assert told("take")["token"] == taken["token"], "what was not finished comes first"
    review = str(taken["review"]["review_id"])
    made = told("decide", review, "correct", "--line", "B-90.0=2", "--token", taken["token"])
    assert (made["state"], made["changes"][0]["value"]) == ("waiting", -180.0)
    [waits] = told("list", "--waiting")["reviews"]
    assert (waits["by"], waits["asked"]["changes"][0]["after"]) == ("rita", 2)
    assert told("approve", review, person="anna")["state"] == "closed"
    back = told("undo", str(made["decision_id"]), "--note", "the wrong bin", person="alex")
    assert (back["kind"], back["state"]) == ("undo", "open")
    again = told("take")
    review = str(again["review"]["review_id"])
    assert told("release", review, person="anna") == {"review_id": int(review), "released": True}
    again = told("take", "--review", review)
    assert told("give-back", review, "--token", again["token"])["given_back"]
    again = told("take", "--review", review)
    told("decide", review, "accept", "--token", again["token"], "--key", "k-1")
    assert told("labels", tmp_path / "labels.jsonl")["labels"] == 1
    assert json.loads((tmp_path / "labels.jsonl").read_text())["kind"] == "confirmed"


def test_mistakes_are_sentences_with_exit_codes(place: Path) -> None:
    as_rita = ("--ledger", place, "--as", "rita")
    wrong = run_here("review", "decide", "1", "accept", "--token", "guessed", *as_rita)
    assert (wrong.returncode, wrong.stderr.startswith("error: rita does not have bin A-1")) == (2, True)
    assert run_here("review", "--ledger", place, "--as", "vera").returncode == 2
    nobody = run_here("review", "take", "--ledger", place, env={"BINTALLY_AS": ""})
    assert "Who does this?" in nobody.stderr
    gone = run_here("review", "take", "--review", "999", *as_rita)
    assert (gone.returncode, "There is no review 999" in gone.stderr) == (2, True), "it said that nothing waits"
    run_here("review", "take", "--review", "1", "--ledger", place, "--as", "rolf")
    taken = run_here("review", "take", "--review", "1", *as_rita)
    assert (taken.returncode, "Somebody else has bin A-1 until" in taken.stderr) == (2, True)
    line = run_here("review", "decide", "1", "correct", "--line", "B=x", "--token", "t", *as_rita)
    assert "'B=x' is no count of a product." in line.stderr


def test_the_help_of_a_session_tells_its_keys() -> None:
    # A shorter text once took the place of the one with the keys and the example.
    text = run_here("review", "--help").stdout
    assert "Keys:" in text
    assert "Example" in text


@pytest.mark.parametrize("verb", ["list", "take", "give-back", "decide", "undo", "approve", "release", "labels"])
def test_help_of_each_has_an_example_and_json(verb: str) -> None:
    text = run_here("review", verb, "--help").stdout
    assert "Example" in text
    assert "--json" in text
