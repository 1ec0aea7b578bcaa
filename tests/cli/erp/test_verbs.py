"""`bintally erp` as people and programs use it, with a stock system that another package brings along."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import update

from bintally.cli import main
from bintally.cli.erp.posting import Teller
from bintally.database import leases
from bintally.database.types import now
from bintally.errors import ErpUnavailableError
from bintally.inventory import schema
from bintally.inventory.erp.outbox import note_steps
from bintally.inventory.erp.relay import PostReport
from bintally.inventory.ledger import Ledger
from tests.conftest import ROOT
from tests.inventory.erp.desks import SKU, corrected
from tests.inventory.erp.notebook import Notebook
from tests.inventory.worlds import World

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def notebook(tmp_path: Path) -> Notebook:
    return Notebook(tmp_path / "erp" / "erp.sqlite")


@pytest.fixture(autouse=True)
def erp_folder(tmp_path: Path) -> None:
    (tmp_path / "erp").mkdir()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A package that brings the kind `notebook` is installed, and it is said which ledger, and who acts."""
    brought = tmp_path / "packages" / "notebook-1.dist-info"
    brought.mkdir(parents=True)
    (brought / "METADATA").write_text("Metadata-Version: 2.1\nName: notebook\nVersion: 1\n")
    (brought / "entry_points.txt").write_text("[bintally.connectors]\nnotebook = tests.inventory.erp.notebook:KIND\n")
    return {
        "PYTHONPATH": f"{brought.parent}{os.pathsep}{ROOT}",
        "BINTALLY_LEDGER": str(tmp_path / "ledger.sqlite"),
        "BINTALLY_AS": "adam",
        "COLUMNS": "160",
    }


@pytest.fixture
def erp(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`bintally erp ...`, in this process: a new one for each would take minutes in all."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(environment["PYTHONPATH"].split(os.pathsep)[0])
    with Ledger.open(environment["BINTALLY_LEDGER"], create=True) as ledger, ledger.write() as connection:
        World.new(connection)

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        monkeypatch.setattr(sys, "argv", ["bintally", "erp", *words])
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        told = capsys.readouterr()
        return subprocess.CompletedProcess(words, int(str(code or 0)), told.out, told.err)

    return run


@pytest.fixture
def connected(erp: Run, notebook: Notebook) -> Run:
    done = erp("connect", "book", "notebook", "--set", f"path={notebook.path}", "--since", "2026-01-01")
    assert done.returncode == 0, done.stderr
    return erp


def correct(place: str, *codes: str) -> None:
    with Ledger.open(place) as ledger, ledger.write() as connection:
        world = World.new(connection)
        for code in codes:
            corrected(world, code)


def told(done: "subprocess.CompletedProcess[str]") -> Any:
    return json.loads(done.stdout)


def test_one_is_connected_and_listed(erp: Run, notebook: Notebook) -> None:
    done = erp("connect", "book", "notebook", "--set", f"path={notebook.path}")
    assert done.returncode == 0, done.stderr
    assert "book answers: Notebook." in done.stderr
    assert "$BINTALLY_ERP_BOOK_SECRET" in done.stderr
    listed = erp("list")
    assert f"path={notebook.path}" in "".join(listed.stderr.split())
    assert told(erp("list", "--json"))[0]["kind"] == "notebook"


def test_what_is_wrong_with_a_connection_is_said_and_nothing_is_kept(
    erp: Run, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"path={notebook.path}"
    cases = {
        ("connect", "book", "notbook", "--set", path): (2, "Did you mean 'notebook'?"),
        ("connect", "book", "notebook", "--set", f"pth={notebook.path}"): (2, "unknown key 'pth'"),
        ("connect", "book", "notebook", "--set", "path"): (2, "--set 'path' sets nothing"),
        ("connect", "book", "notebook", "--set", "path=/no/such/folder/erp"): (8, "is not in /no/such/folder"),
        ("connect", "book", "notebook", "--set", path, "--as", "rita"): (2, "this needs an admin"),
        ("connect", "book", "notebook", "--set", path, "--since", "soon"): (2, "'soon' is no moment"),
    }
    for words, (code, sentence) in cases.items():
        done = erp(*words)
        assert done.returncode == code, done.stderr
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
    monkeypatch.setenv("BINTALLY_ERP_BOOK_SECRET", "wrong")
    locked = erp("connect", "book", "notebook", "--set", path)
    assert (locked.returncode, "Bring the right key" in locked.stderr) == (8, True)
    assert told(erp("list", "--json")) == []
    assert erp("post").returncode == 2


def test_corrections_are_rehearsed_posted_and_looked_after(
    connected: Run, notebook: Notebook, environment: dict[str, str]
) -> None:
    correct(environment["BINTALLY_LEDGER"], "A-1", "A-2")
    notebook.put("A-1", **{SKU: 4})
    notebook.put("A-2", **{SKU: 9})
    rehearsed = connected("post", "--dry-run")
    assert rehearsed.returncode == 0
    assert "No correction was sent, and nothing written down." in rehearsed.stderr
    assert [each["would"] for each in told(connected("post", "book", "--dry-run", "--json"))] == ["posted", "stale"]
    assert notebook.moves() == []

    posted = connected("post")
    assert posted.returncode == 1, posted.stderr
    assert "1 posted to book, 1 stale and 0 refused" in posted.stderr
    state = connected("status")
    assert state.returncode == 1
    assert "1 of book need a person" in state.stderr
    letters = connected("dead-letters")
    assert letters.returncode == 1
    assert "9 there, counted against 4" in " ".join(letters.stderr.split())
    number = str(told(connected("dead-letters", "--json"))[0]["id"])
    shown = connected("show", number)
    assert "stale" in shown.stderr
    assert "A-2" in shown.stderr
    assert told(connected("show", number, "--json"))["steps"][0]["step"] == "made"

    assert connected("drop", number, "--reason", "no", "--as", "rita").returncode == 2
    recounted = connected("recount", number, "--json", "--as", "anna")
    assert recounted.returncode == 0, recounted.stderr
    assert told(recounted)["review_id"] > 0
    assert connected("dead-letters").returncode == 0
    assert connected("status").returncode == 0
    assert told(connected("post", "--json"))["posted"] == 0


def test_one_is_tried_again_and_another_is_dropped(
    connected: Run, notebook: Notebook, environment: dict[str, str]
) -> None:
    correct(environment["BINTALLY_LEDGER"], "A-1", "A-2")
    connected("post")
    first, second = (str(each["id"]) for each in told(connected("dead-letters", "--json")))
    notebook.put("A-1", **{SKU: 4})
    assert connected("retry", first, "--as", "anna").returncode == 0
    assert connected("drop", second, "--reason", "mended there", "--as", "anna").returncode == 0
    assert connected("retry", second, "--as", "anna").returncode == 2
    assert "dropped" in connected("status").stderr
    assert connected("post").returncode == 0
    assert notebook.moves() == [("A-1", SKU, -1)]


def test_a_pause_holds_corrections_back(connected: Run, notebook: Notebook, environment: dict[str, str]) -> None:
    correct(environment["BINTALLY_LEDGER"], "A-1")
    notebook.put("A-1", **{SKU: 4})
    assert connected("pause", "book").returncode == 0
    assert [each["would"] for each in told(connected("post", "--dry-run", "--json"))] == ["waiting"]
    assert "is paused" in connected("post").stderr
    assert told(connected("post", "--json"))["paused"]
    state = connected("status")
    assert (state.returncode, "bintally erp resume book" in state.stderr) == (1, True), "it has waited for long"
    assert connected("resume").returncode == 0
    assert "1 posted" in connected("post").stderr


def test_stock_is_pulled(connected: Run, notebook: Notebook, environment: dict[str, str]) -> None:
    correct(environment["BINTALLY_LEDGER"], "A-1")
    notebook.put("A-1", **{SKU: 4})
    notebook.put("B-1", **{SKU: 2})
    notebook.put("C-1", screw=2)
    dry = connected("pull", "--dry-run", "--create-bins")
    assert "B-1: no record -> 2" in dry.stderr
    done = connected("pull", "--create-bins")
    assert done.returncode == 1, "there is a product that nobody knows"
    assert "has no product 'screw'" in done.stderr
    assert "Left alone" in done.stderr
    bare = connected("pull").stderr
    assert ("There is none at all yet" in bare, "has no product 'screw'" in bare) == (False, False)
    assert (bare.count("has no bin 'C-1'"), bare.count("--create-bins")) == (1, 1)
    lost = connected("pull", "--bins", "B-1,X-9", "--dry-run")
    assert (lost.returncode, "X-9: book has no such bin." in lost.stderr) == (1, True)
    one = told(connected("pull", "book", "--bins", "B-1", "--json"))
    assert (one["read"], one["same"], one["rejected"]) == (1, 1, [])


def test_a_folder_answers_and_is_asked_for_no_secret(erp: Run, tmp_path: Path) -> None:
    (tmp_path / "adjustments").mkdir()
    said = " ".join(erp("connect", "drop", "folder", "--set", f"path={tmp_path}").stderr.split())
    assert said.startswith("drop answers: Folder (")
    assert "secret" not in said


def test_a_hint_names_the_connections_own_secret(erp: Run) -> None:
    done = erp("connect", "my-hook", "webhook", "--set", "url=https://example.com/stock")
    assert done.returncode == 2
    assert "$BINTALLY_ERP_MY_HOOK_SECRET" in done.stderr


def test_of_two_the_second_says_who_is_at_work(connected: Run, environment: dict[str, str]) -> None:
    with Ledger.open(environment["BINTALLY_LEDGER"]) as ledger, leases.held(ledger, "erp:book", by="somebody"):
        done = connected("post")
    assert (done.returncode, "Another `bintally erp post` is at work on book." in done.stderr) == (2, True)


def test_watching_says_what_is_wrong_once_and_that_it_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    fine = PostReport(connection="book", made=0, posted=0, stale=0, refused=0, failed=0)
    away, teller = ErpUnavailableError("It sleeps."), Teller("book")
    for told in (fine, away, away, msgspec.structs.replace(fine, paused=True), fine, fine):
        teller.tell(told)
    lines = capsys.readouterr().err.splitlines()
    assert [line[:8].count(":") for line in lines] == [2, 2, 2]
    words = " ".join(lines)
    assert all(word in words for word in ("book: It sleeps.", "book is paused", "book is told corrections again."))


def test_one_that_is_away_is_said_to_be(connected: Run, notebook: Notebook, environment: dict[str, str]) -> None:
    with Ledger.open(environment["BINTALLY_LEDGER"]) as ledger, ledger.write() as connection:
        connection.execute(update(schema.ErpConnection).values(settings='{"path": "/no/such/folder/erp"}'))
    assert connected("post").returncode == 8
    with Ledger.open(environment["BINTALLY_LEDGER"]) as ledger, ledger.write() as connection:
        connection.execute(update(schema.ErpConnection).values(away_since=now(), away_why="It sleeps."))
    state = connected("status")
    assert state.returncode == 0, "not for long"
    assert "book is away since" in state.stderr
    assert "It sleeps." in state.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_watching_ends_when_it_is_told_to(
    connected: Run, notebook: Notebook, environment: dict[str, str], number: signal.Signals
) -> None:
    correct(environment["BINTALLY_LEDGER"], "A-1")
    notebook.put("A-1", **{SKU: 4})
    command = [sys.executable, "-m", "bintally", "erp", "post", "--watch", "--every", "0.2s"]
    process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True)
    for _ in range(300):
        if notebook.moves():
            break
        time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "1 posted to book." in errors
    assert notebook.moves() == [("A-1", SKU, -1)]


def test_words_of_a_stock_system_are_shown_as_they_are(
    connected: Run, notebook: Notebook, environment: dict[str, str]
) -> None:
    strange = "locked [b] by [/b] [/red]"
    with Ledger.open(environment["BINTALLY_LEDGER"]) as ledger, ledger.write() as connection:
        corrected(World.new(connection), "[A]-1[/b]")
        values = {"reason": strange, "reference": "[/b]", "state": "refused"}
    assert "[A]-1[/b]" in connected("post", "--dry-run").stderr
    connected("post")
    with Ledger.open(environment["BINTALLY_LEDGER"]) as ledger, ledger.write() as connection:
        connection.execute(update(schema.Posting).values(**values))
        note_steps(connection, [(1, "refused", {"reason": strange})], at=now())
    for words in (("dead-letters",), ("show", "1")):
        assert strange in " ".join(connected(*words).stderr.split())
    notebook.put("[A]-1[/b]", **{SKU: 4})
    for line in ("list", "status", "pull --dry-run", "pull --create-bins --dry-run"):
        assert "Traceback" not in connected(*line.split()).stderr
    with Ledger.open(environment["BINTALLY_LEDGER"]) as ledger, ledger.write() as connection:
        connection.execute(update(schema.Posting).values(state="waiting", reason=""))
    assert "[A]-1[/b]" in connected("pull").stderr, "left alone"


def test_a_number_that_nothing_has_is_said_to_be_none(connected: Run) -> None:
    number = "9" * 30
    for words in (("show", number), ("retry", number), ("drop", number, "--reason", "no"), ("recount", number)):
        done = connected(*words)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr


def test_a_setting_is_a_value_or_a_section(erp: Run) -> None:
    done = erp("connect", "q", "folder", "--set", "a=1", "--set", "a.b=2")
    assert (done.returncode, "a is set to a value already" in done.stderr) == (2, True)
