"""`bintally ledger` and `bintally audit`, as commands."""

import json
import sqlite3
from pathlib import Path

import pytest

from bintally.inventory.ledger import Ledger
from tests.conftest import run_here

RECORDS = "bin,quantity,effective_at\nA,3,2026-01-01\nB,-2,2026-01-01\nC,1,2026-01-01\n"


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger that the environment names, with its admin."""
    monkeypatch.setenv("BINTALLY_LEDGER", str(tmp_path / "stock.sqlite"))
    monkeypatch.setenv("BINTALLY_AS", "mara")
    made = run_here(
        "ledger", "init", tmp_path / "stock.sqlite", "--site", "STR1", "--currency", "EUR", "--admin", "mara"
    )
    assert made.returncode == 0, made.stderr
    return tmp_path / "stock.sqlite"


def test_a_ledger_is_made_filled_shown_and_moved(ledger: Path, tmp_path: Path) -> None:
    (tmp_path / "bins.csv").write_text("bin\nA\nB\n")
    (tmp_path / "records.csv").write_text(RECORDS)
    assert run_here("ledger", "import", "bins", tmp_path / "bins.csv").returncode == 0
    taken = run_here("ledger", "import", "records", tmp_path / "records.csv", "--json")
    assert taken.returncode == 1
    report = json.loads(taken.stdout)
    assert (report["new"], report["rejected"], report["first"][0]["why"]) == (1, 2, "is below 0")
    said = run_here("ledger", "import", "records", tmp_path / "records.csv", env={"COLUMNS": "200"})
    assert "line 3: quantity '-2' is below 0" in said.stderr
    assert "2 line(s) could not go in" in said.stderr
    (tmp_path / "more.csv").write_text("bin,quantity,effective_at\nZ,1,2026-01-01\n")
    assert "--create-bins" in run_here("ledger", "import", "records", tmp_path / "more.csv").stderr
    again = run_here("ledger", "import", "bins", tmp_path / "bins.csv", env={"COLUMNS": "200"})
    assert "was taken in before" in again.stderr

    shown = json.loads(run_here("ledger", "show", "--json").stdout)
    assert (shown["sites"], shown["tables"]["records"]["rows"], shown["tables"]["bins"]["rows"]) == (["STR1"], 1, 2)
    assert "records" in run_here("ledger", "show").stderr

    out = tmp_path / "out.csv"
    assert run_here("ledger", "export", "records", out, "--as-of", "2026-01-01T12:00:00+02:00").returncode == 0
    assert out.read_text().splitlines()[1].startswith("A,,3,each,2026-01-01T00:00:00")
    assert (
        json.loads(run_here("ledger", "export", "records", out, "--as-of", "2025-01-01", "--json").stdout)["rows"] == 0
    )

    backed = json.loads(run_here("ledger", "backup", tmp_path / "b.zip", "--json").stdout)
    restored = run_here("ledger", "restore", tmp_path / "b.zip", tmp_path / "new.sqlite", "--json")
    assert json.loads(restored.stdout)["head"] == backed["head"] == run_here("audit", "head").stdout.strip()
    refused = run_here("ledger", "restore", tmp_path / "b.zip", tmp_path / "new.sqlite")
    assert (refused.returncode, "holds a ledger already" in refused.stderr) == (2, True)
    kept = json.loads(run_here("ledger", "retain", "--days", "30", "--dry-run", "--json").stdout)
    assert (kept["removed"], kept["is_dry"]) == (0, True)


def test_people_get_roles_from_an_admin(ledger: Path) -> None:
    assert run_here("ledger", "person", "tom", "--role", "reviewer").returncode == 0
    refused = run_here("ledger", "person", "eve", "--role", "admin", "--as", "tom")
    assert (refused.returncode, "tom is a reviewer" in refused.stderr) == (2, True)
    wrong = run_here("ledger", "person", "eve", "--role", "reviewr")
    assert (wrong.returncode, "Did you mean 'reviewer'" in wrong.stderr) == (2, True)
    usurped = run_here("ledger", "init", ledger, "--site", "STR1", "--admin", "eve")
    assert (usurped.returncode, "has admins already: mara" in usurped.stderr) == (2, True)
    nobody = run_here("ledger", "person", "eve", "--role", "viewer", env={"BINTALLY_AS": ""})
    assert (nobody.returncode, "--as NAME" in nobody.stderr) == (2, True)
    nowhere = run_here("ledger", "show", env={"BINTALLY_LEDGER": ""})
    assert (nowhere.returncode, "--ledger PLACE" in nowhere.stderr) == (2, True)
    alone = run_here("ledger", "person", "mara", "--role", "viewer")
    assert (alone.returncode, "mara is the only admin" in alone.stderr) == (2, True), "she once locked herself out"
    assert run_here("ledger", "person", "eve", "--role", "admin").returncode == 0
    assert run_here("ledger", "person", "mara", "--role", "viewer").returncode == 0


def test_a_site_keeps_its_currency(ledger: Path) -> None:
    # Another one was once passed over without a word.
    other = run_here("ledger", "init", ledger, "--site", "STR1", "--currency", "USD")
    assert (other.returncode, "keeps its money in EUR" in other.stderr) == (2, True)
    assert run_here("ledger", "init", ledger, "--site", "STR1").returncode == 0
    dollars = run_here("ledger", "init", ledger, "--site", "LEJ1", "--currency", "usd")
    assert (dollars.returncode, "no currency" in dollars.stderr) == (2, True)


def test_the_audit_log_is_shown_and_verified(ledger: Path) -> None:
    assert run_here("ledger", "person", "tom", "--role", "reviewer").returncode == 0
    head = run_here("audit", "head").stdout.strip()
    assert json.loads(run_here("audit", "head", "--json").stdout) == {"number": 3, "hash": head.partition(":")[2]}
    whole = run_here("audit", "verify", "--expect", head)
    assert (whole.returncode, "3 lines" in whole.stderr) == (0, True)
    lines = [json.loads(line) for line in run_here("audit", "show", "--json").stdout.splitlines()]
    assert [(line["actor"], line["action"]) for line in lines] == [
        ("bintally", "site.add"),
        ("bintally", "person.set"),
        ("mara", "person.set"),
    ]
    assert "person:tom" in run_here("audit", "show", "--subject", "person:tom").stdout
    connection = sqlite3.connect(ledger)
    connection.execute("DROP TRIGGER audit_no_update")
    connection.execute("UPDATE audit SET actor = 'nobody' WHERE number = 2")
    connection.commit()
    connection.close()
    broken = run_here("audit", "verify", "--json")
    assert (broken.returncode, json.loads(broken.stdout)["broken"]) == (1, 2)
    assert "line 2 was changed" in run_here("audit", "verify").stderr
    unread = run_here("audit", "verify", "--expect", "3")
    assert (unread.returncode, "no head" in unread.stderr) == (2, True)


def test_init_makes_a_ledger_in_a_folder_once(tmp_path: Path) -> None:
    for _ in range(2):
        done = run_here("ledger", "init", tmp_path, "--site", "STR1", "--json")
        assert json.loads(done.stdout)["admins"] == 0
    with Ledger.open(tmp_path) as opened, opened.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM site").scalar_one() == 1


@pytest.mark.parametrize(
    "command",
    [("ledger", name) for name in ("init", "person", "show", "import", "export", "backup", "restore", "retain")]
    + [("audit", name) for name in ("verify", "head", "show")],
    ids=" ".join,
)
def test_every_command_helps_with_an_example(command: tuple[str, str]) -> None:
    done = run_here(*command, "--help", env={"COLUMNS": "200"})
    assert done.returncode == 0
    assert f"Example: bintally {' '.join(command)}" in done.stdout
