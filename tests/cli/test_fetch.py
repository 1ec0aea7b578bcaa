"""`bintally fetch`: what people and machines see, and with which exit code."""

import json
from pathlib import Path

from tests.conftest import run_here
from tests.data.servers import lay_out


def test_machines_get_one_document_and_people_a_table(tmp_path: Path) -> None:
    source = lay_out(tmp_path / "bucket", ["00001", "00002", "1"])
    done = run_here("fetch", source, "--out", tmp_path / "data", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["photos"], report["fetched"], report["outputs"]) == (3, 3, ["manifest.parquet", "fetch.json"])
    again = run_here("fetch", source, "--out", tmp_path / "data", "--limit", "2")
    assert again.returncode == 0
    assert again.stdout == ""
    assert "2 of 2 asked for" in again.stderr


def test_a_mistake_is_one_sentence_with_the_next_step(tmp_path: Path) -> None:
    done = run_here("fetch", tmp_path / "nowhere", "--out", tmp_path / "data")
    assert done.returncode == 3
    assert "no such file or folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()
    wrong = run_here("fetch", tmp_path, "--counts", "7-9", "--out", tmp_path / "data")
    assert wrong.returncode == 2
    assert "'7-9' is no count" in wrong.stderr


def test_help_has_an_example() -> None:
    assert "bintally fetch abid --out data" in run_here("fetch", "--help").stdout
