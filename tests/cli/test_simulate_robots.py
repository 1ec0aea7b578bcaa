"""`bintally simulate --robots`, as a person calls it."""

import json
from pathlib import Path

import pytest

from bintally.cli.simulate_robots import shares_of
from bintally.errors import UsageError
from tests.bundles import bin_photo, make_bundle
from tests.conftest import run_here
from tests.serving.conftest import running
from tests.simulation.robots.liar import lying


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    (folder / "a.jpg").write_bytes(bin_photo(3, image_format="JPEG"))
    return folder


def test_a_fleet_drives_and_its_figures_are_shown_and_kept(tmp_path: Path, photos: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny")
    with running(bundle, "--state", tmp_path / "state", "--threads", "1") as (url, _):
        fleet: list[str | Path] = [
            "simulate",
            "--robots",
            "5",
            "--url",
            url,
            "--photos",
            photos,
            "--minutes",
            "0.02",
            "--rate",
            "4",
        ]
        shown = run_here(*fleet, "--out", tmp_path / "out", env={"COLUMNS": "120"})
        told = run_here(*fleet, "--json", "--mix", "damaged=0.5,late=0")
    assert shown.returncode == 0, shown.stderr
    assert "every photo was answered, once" in shown.stderr
    assert "p99" in shown.stderr
    assert shown.stdout == ""
    assert (tmp_path / "out" / "robots.html").is_file()
    kept = json.loads((tmp_path / "out" / "robots.json").read_text())
    assert kept["counted"] == kept["photos"] > 0
    assert told.returncode == 0, told.stderr
    report = json.loads(told.stdout)
    assert report["refused"] == {"bad_photo": report["kinds"]["damaged"]}
    assert report["settings"]["every_s"] == 0.25


def test_an_answer_that_was_doubled_ends_with_1(photos: Path) -> None:
    mix = "duplicates=1,late=0,batches=0,damaged=0,dropouts=0"
    drive = ["--minutes", "0.02", "--every", "0.3", "--mix", mix]
    with lying() as url:
        done = run_here("simulate", "--robots", "4", "--url", url, "--photos", photos, *drive)
    assert done.returncode == 1, done.stderr
    assert "lost or doubled" in done.stderr


def test_what_is_missing_is_a_sentence(tmp_path: Path, photos: Path) -> None:
    nobody = run_here("simulate", "--robots", "2", "--url", "http://127.0.0.1:1", "--photos", photos)
    assert nobody.returncode == 2
    assert "can't be reached" in nobody.stderr
    empty = run_here("simulate", "--robots", "2", "--photos", tmp_path)
    assert empty.returncode == 3
    assert "no photo" in empty.stderr
    both = run_here("simulate", "--robots", "2", "--every", "5", "--rate", "1")
    assert both.returncode == 2
    assert "--every and --rate" in both.stderr


def test_shares_of_a_mix_are_read() -> None:
    assert shares_of("duplicates=0.05, late=0") == {"duplicates": 0.05, "late": 0.0}
    assert shares_of(None) == {}
    with pytest.raises(UsageError, match="Did you mean 'duplicates'"):
        shares_of("duplicate=0.05")
    with pytest.raises(UsageError, match="has no share"):
        shares_of("late=often")
