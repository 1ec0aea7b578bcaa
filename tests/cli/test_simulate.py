"""`bintally simulate`, as a person calls it."""

import json
from pathlib import Path

from tests.conftest import run_here


def test_a_small_site_from_settings_to_page(tmp_path: Path) -> None:
    settings = tmp_path / "site.toml"
    settings.write_text('arms = ["bintally", "single", "nothing"]\n[stock]\npicks_per_day = 0.3\n')
    asked = (
        "simulate",
        settings,
        "--out",
        tmp_path / "out",
        "--days",
        "7",
        "--bins",
        "6",
        "--seeds",
        "2",
        "--workers",
        "1",
    )
    done = run_here(*asked)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "2 sites of 6 bins, 7 days" in done.stderr
    assert "each photo alone" in done.stderr
    assert (tmp_path / "out" / "report.html").is_file()
    again = run_here(*asked, "--json")
    told = json.loads(again.stdout)
    assert [arm["arm"] for arm in told["arms"]] == ["bintally", "single", "nothing"]
    assert told["model"].startswith("champion")


def test_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    nowhere = run_here("simulate")
    assert nowhere.returncode == 2
    assert "--out FOLDER" in nowhere.stderr
    wrong = run_here("simulate", "--out", tmp_path, "--days", "1")
    assert wrong.returncode == 2
    assert "'days'" in wrong.stderr
