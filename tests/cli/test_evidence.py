"""`bintally evidence` as people use it: exported here, verified elsewhere."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import run_here
from tests.databases import new_ledger
from tests.inventory.evidence.conftest import Site
from tests.signatures.folders import make_key


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A ledger with a correction that was posted."""
    with new_ledger(tmp_path / "ledger.sqlite") as ledger:
        Site(ledger, tmp_path).tell()
    return tmp_path / "ledger.sqlite"


def test_exported_here_and_verified_elsewhere(place: Path, tmp_path: Path) -> None:
    env = {"BINTALLY_LEDGER": str(place), "BINTALLY_AS": "vera"}
    key, trusted = make_key(tmp_path / "keys")
    done = run_here("evidence", "export", "1", "--out", tmp_path / "one", "--json", env=env)
    assert done.returncode == 0, done.stderr
    digest = json.loads(done.stdout)["sha256"]
    signed = run_here("evidence", "export", "--bin", "A-1", "-o", tmp_path / "two", "--zip", "--key", key, env=env)
    assert signed.returncode == 0, signed.stderr
    assert "two.zip,signed." in "".join(signed.stderr.split())  # lines break anywhere
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(tmp_path / "one", elsewhere / "one")
    shutil.move(tmp_path / "two.zip", elsewhere / "two.zip")
    assert run_here("evidence", "verify", elsewhere / "one", "--expect", digest).returncode == 0
    assert run_here("evidence", "verify", elsewhere / "two.zip", "--trust", trusted).returncode == 0
    by_ledger = run_here("evidence", "verify", elsewhere / "one", "--ledger", place, "--json")
    assert (by_ledger.returncode, json.loads(by_ledger.stdout)["outcome"]) == (0, "vouched")


def test_the_exit_code_claims_no_more_than_was_checked(place: Path, tmp_path: Path) -> None:
    env = {"BINTALLY_LEDGER": str(place), "BINTALLY_AS": "vera"}
    shown = run_here("evidence", "export", "--decision", "1", "--out", tmp_path / "out", env=env)
    assert "It is not signed: keep the digest" in shown.stderr
    alone = run_here("evidence", "verify", tmp_path / "out")
    assert alone.returncode == 1
    assert "nobody vouches for it" in alone.stderr
    next((tmp_path / "out").rglob("*.bmp")).write_bytes(b"another")
    changed = run_here("evidence", "verify", tmp_path / "out")
    assert changed.returncode == 3
    assert "changed: photos/" in changed.stderr


def test_photos_that_are_not_to_be_had_are_told_by_the_exit_code(place: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "photos")
    done = run_here("evidence", "export", "1", "--out", tmp_path / "out", "--ledger", place, "--as", "vera")
    assert done.returncode == 1
    assert "2 photo(s) were not where the ledger says" in done.stderr
    assert (tmp_path / "out" / "index.html").is_file()


def test_who_may_not_look_exports_nothing(place: Path, tmp_path: Path) -> None:
    done = run_here("evidence", "export", "1", "--out", tmp_path / "out", "--ledger", place, "--as", "nobody")
    assert (done.returncode, "Nobody in the ledger is called 'nobody'" in done.stderr) == (2, True)
    assert not (tmp_path / "out").exists()
