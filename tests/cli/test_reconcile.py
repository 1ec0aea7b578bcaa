"""`bintally reconcile` as a person and as a machine use it."""

import json
from pathlib import Path

import pytest

from bintally.bundle import CARD, read_card
from bintally.inventory.judging.how import How
from bintally.inventory.ledger import Ledger
from bintally.inventory.policy.acceptance import FILE
from tests.bundles import make_bundle
from tests.conftest import run_here
from tests.inventory.judging.yard import Yard
from tests.inventory.policy.cases import acceptance
from tests.inventory.reconcile.files import estimate, write_lines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle that promises something, counts, and records of which one line is broken."""
    bundle = make_bundle(tmp_path / "tiny")
    acceptance(model_sha256=read_card(bundle / CARD).model_sha256).write(bundle / FILE)
    (tmp_path / "stock.csv").write_text("bin,quantity\nA,1\n[B],4\nC,2.5\n")
    write_lines(tmp_path / "counts.jsonl", [estimate("A", 1, share=0.999), estimate("[B]", 2, share=0.999)])
    return tmp_path


def _run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    files: list[str | Path] = [
        "--counts",
        folder / "counts.jsonl",
        "--records",
        folder / "stock.csv",
        "--bundle",
        folder / "tiny",
    ]
    ended = run_here("reconcile", *files, "--promise", "0.1", *arguments, env={"COLUMNS": "140"})
    return ended.returncode, ended.stdout, ended.stderr


def test_a_person_gets_totals_the_promise_doubtful_bins_and_broken_lines(folder: Path) -> None:
    code, stdout, stderr = _run(folder)
    assert (code, stdout) == (1, "")
    assert "2 records judged" in stderr
    assert "Of the accepted at most 10% are wrong" in stderr
    (row,) = [line for line in stderr.splitlines() if line.lstrip().startswith("[B]")]
    assert row.split()[:3] == ["[B]", "4", "2"]
    assert f"{folder / 'stock.csv'}:4: quantity '2.5': items are counted whole" in stderr
    assert "1 lines could not be used." in stderr


def test_a_machine_gets_one_document(folder: Path) -> None:
    (folder / "stock.csv").write_text("bin,quantity\nA,1\n[B],4\n")
    code, stdout, stderr = _run(folder, "--json", "--out", str(folder / "out.csv"))
    assert (code, stderr) == (0, "")
    report = json.loads(stdout)
    assert report["outcomes"]["match"] == report["outcomes"]["mismatch"] == 1
    assert report["out"] == [str(folder / "out.csv")]
    assert (folder / "out.csv").read_text().count("\n") == 3


def test_files_and_a_ledger_do_not_mix(folder: Path) -> None:
    code, _, stderr = _run(folder, "--ledger", "x.sqlite")
    assert code == 2
    assert "a ledger with neither" in stderr
    ended = run_here("reconcile", env={"BINTALLY_LEDGER": ""})
    assert (ended.returncode, ended.stderr.splitlines()[0]) == (2, "error: Which ledger?")


def test_a_ledger_is_brought_up_to_date(folder: Path) -> None:
    place, bundle = str(folder / "ledger.sqlite"), folder / "tiny"
    with Ledger.open(place, create=True) as ledger:
        yard = Yard.new(ledger, How.open(bundle), folder / "photos")
        yard.record("A", 2)
        yard.photo("A", 2, at=1)
        yard.record("B", 4)
        yard.photo("B", 2, at=1)
    ask = ("reconcile", "--ledger", place, "--bundle", bundle, "--promise", "0.1")
    first = run_here(*ask, "--json")
    assert (first.returncode, first.stderr) == (0, "")
    report = json.loads(first.stdout)
    assert report["photos"] == 2
    assert report["outcomes"]["mismatch"] == 1
    again = run_here(*ask)
    assert (again.returncode, again.stdout) == (0, "")
    assert "0 new verdicts at STR1" in again.stderr
    refused = run_here(*ask, "--out", folder / "x.csv")
    assert (refused.returncode, "ledger export verdicts" in refused.stderr) == (2, True)
