"""`bintally plan`, as a command."""

import json
from pathlib import Path

import polars as pl
import pytest

from tests.conftest import run_here
from tests.databases import new_ledger
from tests.inventory.worlds import World


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger that the environment names, with three bins."""
    place = tmp_path / "stock.sqlite"
    with new_ledger(place) as opened, opened.write() as connection:
        world = World.new(connection)
        world.judged("A-2-1", outcome="uncertain", right=0.5)
        world.judged("A-1-1", outcome="mismatch")
        world.judged("B-1-1", outcome="match")
    monkeypatch.setenv("BINTALLY_LEDGER", str(place))
    return place


def test_a_plan_is_shown_and_written_and_taken_up_again(ledger: Path, tmp_path: Path) -> None:
    asked = ("--counts", "2", "--photos", "1", "--day", "2026-03-04", "--out", tmp_path / "plan.csv")
    done = run_here("plan", *asked, env={"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    assert "count 2 of 2 possible" in done.stderr
    assert "A-1-1" in done.stderr
    assert pl.read_csv(tmp_path / "plan.csv")["bin"].to_list()[:2] == ["A-1-1", "A-2-1"]
    again = run_here("plan", *asked[:-2], "--previous", tmp_path / "plan.csv", "--json")
    report = json.loads(again.stdout)
    assert (report["kept"], report["counts"]["planned"], report["file"]) == (2, 2, None)
    assert [each["bin"] for each in report["bins"]][:2] == ["A-1-1", "A-2-1"]


def test_what_makes_no_sense_ends_with_a_sentence(ledger: Path, tmp_path: Path) -> None:
    for option, value, why in (
        ("--day", "tomorrow", "'day'"),
        ("--out", tmp_path / "plan.txt", "neither .csv nor .parquet"),
        ("--previous", tmp_path / "gone.csv", "can't be read"),
        ("--site", "NOWHERE", "no site 'NOWHERE'"),
    ):
        done = run_here("plan", option, value)
        assert (done.returncode, why in done.stderr) == (2, True), done.stderr


def test_help_has_an_example() -> None:
    done = run_here("plan", "--help", env={"COLUMNS": "200"})
    assert "Example: bintally plan --counts 100 --photos 500" in done.stdout
