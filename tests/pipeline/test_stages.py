"""What stages declare, and how the first one looks again at a source that can't be seen from here."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from bintally.data.sources import base
from bintally.errors import SourceError
from bintally.pipeline import PROMOTING, STAGES, Job, StageResult
from bintally.pipeline.promoting import Promoter
from bintally.pipeline.stages import source_state
from bintally.pipeline.walk import walk
from bintally.progress import SILENT
from tests.data.servers import FaultyServer, lay_out, serving
from tests.databases import new_registry
from tests.pipeline.conftest import quick_recipe

FETCH = STAGES[0]


def test_a_stage_follows_those_whose_files_it_reads(finished: Path, tmp_path: Path) -> None:
    new_registry(tmp_path).close()
    job = Job(quick_recipe(), "sample", finished, Promoter(tmp_path, model="bintally", by="mia", run="1"))
    stages = (*STAGES, *PROMOTING)
    for stage in stages:
        made_by = {
            other.name
            for other in stages
            for path in stage.inputs(job)
            if path in other.outputs(job) and other != stage
        }
        assert made_by == set(stage.after), stage.name


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that a web server serves, its photos named in labels.csv."""
    monkeypatch.setattr(base, "FIRST_PAUSE_S", 0.002)
    folder = lay_out(tmp_path / "bucket", [f"{number:05}" for number in range(1, 6)])
    _name(folder, 3)
    return folder


@pytest.fixture
def web(bucket: Path) -> Iterator[tuple[str, FaultyServer]]:
    server = FaultyServer(bucket)
    with serving(server) as url:
        yield url, server


def _name(bucket: Path, photos: int) -> None:
    with (bucket / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "count"), *((f"{number:05}", 1) for number in range(1, photos + 1))])


def _fetched(source: str, workspace: Path, *, forced: str | None = None) -> StageResult:
    job = Job(quick_recipe(fetch={"retries": 1, "timeout_s": 5.0}), source, workspace)
    return walk(FETCH, job, SILENT, forced=forced, note=lambda record: None)


def test_a_web_server_is_looked_at_again_and_only_its_new_photos_are_fetched(
    bucket: Path, web: tuple[str, FaultyServer], tmp_path: Path
) -> None:
    url, server = web
    assert _fetched(url, tmp_path / "w").reason == "ran: for the first time"
    again = _fetched(url, tmp_path / "w")
    assert again.reason == f"ran: looked for new photos at {url}"
    assert again.report is not None
    assert (again.report["fetched"], again.report["reused"]) == (0, 3)
    _name(bucket, 5)
    grown = _fetched(url, tmp_path / "w")
    assert grown.report is not None
    assert (grown.report["fetched"], grown.report["reused"]) == (2, 3)
    assert {server.requests[f"/bin-images/{number:05}.jpg"] for number in range(1, 6)} == {1}


def test_a_source_that_is_away_for_a_night_leaves_what_was_fetched(
    web: tuple[str, FaultyServer], tmp_path: Path
) -> None:
    url, server = web
    _fetched(url, tmp_path / "w")
    before = (tmp_path / "w" / "data" / "manifest.parquet").read_bytes()
    server.always["/labels.csv"] = "503"
    away = _fetched(url, tmp_path / "w")
    assert away.status == "unchanged"
    assert away.reason.startswith(f"skipped: could not look for new photos ({url}")
    assert "went on with what was there on 20" in away.reason
    assert (tmp_path / "w" / "data" / "manifest.parquet").read_bytes() == before
    with pytest.raises(SourceError):
        _fetched(url, tmp_path / "w", forced="asked for (--from fetch)")
    with pytest.raises(SourceError):
        _fetched(url, tmp_path / "new")


def test_a_local_folder_is_looked_at_by_its_files(bucket: Path, tmp_path: Path) -> None:
    _fetched(str(bucket), tmp_path / "w")
    assert _fetched(str(bucket), tmp_path / "w").status == "unchanged"
    (bucket / "bin-images" / "00009.jpg").write_bytes(b"new")
    grown = _fetched(str(bucket), tmp_path / "w")
    assert grown.reason == f"ran: files in {bucket} changed"
    assert grown.report is not None
    assert grown.report["fetched"] == 1


def test_a_folder_that_is_gone_is_an_error_and_not_an_empty_night(bucket: Path, tmp_path: Path) -> None:
    _fetched(str(bucket), tmp_path / "w")
    bucket.rename(tmp_path / "elsewhere")
    with pytest.raises(SourceError, match="no such file or folder"):
        _fetched(str(bucket), tmp_path / "w")


def test_a_source_is_known_without_its_login() -> None:
    assert source_state("https://mia:hush@host/bins?sig=hush") == {"name": "https://host/bins"}
