"""Estimates as lines, and the results file that a killed run goes on with."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bintally.counting.output import Settings, open_results, shown, style_of
from bintally.counting.writers import Style, writer_of
from bintally.errors import UsageError
from bintally.records import CountEstimate, Timings

KEYS = ("1", "2", "3")
ESTIMATE = CountEstimate(
    path="a,b.jpg",
    bin_image_id="a,b",
    count=2,
    expected_count=2.1,
    probabilities={"1": 0.1, "2": 0.7, "3": 0.2},
    count_set=("2", "3"),
    model="tiny",
    timings=Timings(1.234, 5.678),
)
BROKEN = CountEstimate(path="broken.jpg", bin_image_id="broken", error="The photo is empty (0 bytes).", model="tiny")


def _settings(style: Style = "jsonl", model: str = "tiny") -> Settings:
    return Settings(model=model, model_sha256="0" * 64, counts=KEYS, style=style)


def test_json_lines_are_read_back() -> None:
    writer = writer_of("jsonl", KEYS)
    assert writer.header() == ""
    assert CountEstimate.from_json(writer.line(BROKEN)) == BROKEN
    assert CountEstimate.from_json(writer.line(ESTIMATE)).probabilities == ESTIMATE.probabilities


def test_csv_has_a_column_for_each_count_and_empty_cells_where_there_is_nothing() -> None:
    writer = writer_of("csv", KEYS)
    rows = list(csv.DictReader(io.StringIO(writer.header() + writer.line(ESTIMATE) + writer.line(BROKEN))))
    assert rows[0]["path"] == "a,b.jpg"
    assert [rows[0][f"p_{key}"] for key in KEYS] == ["0.1000", "0.7000", "0.2000"]
    assert (rows[0]["count"], rows[0]["count_set"], rows[0]["error"]) == ("2", "2|3", "")
    assert (rows[1]["count"], rows[1]["p_1"], rows[1]["error"]) == ("", "", "The photo is empty (0 bytes).")


def test_the_table_shows_the_numbers_a_person_looks_for() -> None:
    writer = writer_of("table", KEYS)
    assert writer.header().split() == ["count", "sure", "expected", "likely", "123", "photo"]
    assert writer.line(ESTIMATE).split() == ["2", "70%", "2.10", "2", "3", "▁▆▂", "a,b.jpg"]
    assert writer.line(BROKEN).split(maxsplit=2) == ["-", "broken.jpg", "The photo is empty (0 bytes).\n"]


@pytest.mark.parametrize("style", ["table", "csv", "jsonl"])
def test_an_estimate_is_one_line_whatever_its_path(style: Style) -> None:
    odd = CountEstimate(path="two\nlines\r.jpg", error="no\nphoto")
    line = writer_of(style, KEYS).line(odd)
    assert line.endswith("\n")
    assert len(line.splitlines()) == 1 or style == "table"
    assert "\ntwo" not in line
    assert "two\nlines" not in line


def test_the_suffix_chooses_the_style() -> None:
    assert [style_of(Path(name)) for name in ("a.jsonl", "a.ndjson", "a.CSV")] == ["jsonl", "jsonl", "csv"]
    with pytest.raises(UsageError, match=r"a\.xlsx has no known suffix"):
        style_of(Path("a.xlsx"))


@pytest.mark.parametrize("style", ["jsonl", "csv"])
def test_a_run_goes_on_where_the_last_one_stopped(tmp_path: Path, style: Style) -> None:
    path = tmp_path / "new" / f"results.{style}"
    with open_results(path, _settings(style)) as results:
        assert results.done.paths == set()
        results.write([ESTIMATE, BROKEN])
    whole = path.read_bytes()
    with open_results(path, _settings(style)) as results:
        assert results.done.paths == {"a,b.jpg", "broken.jpg"}
        assert (results.done.failed, results.done.abstained) == (1, 0)
        assert results.has("a,b.jpg")
        assert not results.has("c.jpg")
    assert path.read_bytes() == whole


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20)
@given(style=st.sampled_from(["jsonl", "csv"]), cut=st.floats(0, 1))
def test_torn_anywhere_it_heals_to_what_an_unbroken_run_writes(tmp_path: Path, style: Style, cut: float) -> None:
    path = tmp_path / f"torn.{style}"
    path.unlink(missing_ok=True)
    estimates = [CountEstimate(path=f"{index}\n.jpg", count=index, error=None) for index in range(5)]
    with open_results(path, _settings(style)) as results:
        results.write(estimates)
    whole = path.read_bytes()
    path.write_bytes(whole[: round(cut * len(whole))])
    with open_results(path, _settings(style)) as results:
        results.write([estimate for estimate in estimates if not results.has(estimate.path or "")])
    assert path.read_bytes() == whole


def test_a_torn_line_longer_than_a_block_is_cut_too(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with open_results(path, _settings()) as results:
        results.write([ESTIMATE])
    whole = path.read_bytes()
    path.write_bytes(whole + b"x" * 200_000)
    with open_results(path, _settings()):
        pass
    assert path.read_bytes() == whole


def test_results_of_another_model_are_never_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with open_results(path, _settings()) as results:
        results.write([ESTIMATE])
    whole = path.read_bytes()
    other = pytest.raises(UsageError, match="results of model tiny, not of model other")
    with other, open_results(path, _settings(model="other")):
        pass
    assert path.read_bytes() == whole


def test_a_file_that_bintally_did_not_write_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text("my notes, without a line end")
    with pytest.raises(UsageError, match="nothing beside it says"), open_results(path, _settings()):
        pass
    assert path.read_text() == "my notes, without a line end"


def test_a_line_edited_by_hand_is_told(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with open_results(path, _settings()) as results:
        results.write([ESTIMATE])
    path.write_text("{]\n" + path.read_text())
    with pytest.raises(UsageError, match="was edited"), open_results(path, _settings()):
        pass


def test_two_runs_never_write_one_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    second = pytest.raises(UsageError, match="Another bintally")
    with open_results(path, _settings()), second, open_results(path, _settings()):
        pass


def test_a_name_that_is_not_utf8_can_be_shown() -> None:
    assert shown("caf\udce9.jpg") == "caf�.jpg"
