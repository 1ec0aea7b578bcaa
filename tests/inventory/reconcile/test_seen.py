"""Counts from files: the same bins whatever the format, the latest photo of each, broken lines named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bintally.counting.writers import Csv
from bintally.errors import DataError, UsageError
from bintally.inventory.reconcile.rejected import Rejections
from bintally.inventory.reconcile.seen import Seen, read_seen
from bintally.records import COUNT_KEYS, CountEstimate
from tests.inventory.reconcile.files import estimate, write_lines


def _read(path: Path, bins: Path | None = None) -> tuple[Seen, list[tuple[int | None, str, str]]]:
    rejections = Rejections()
    seen = read_seen(path, bins, rejections)
    return seen, [(line.line, line.column, line.why) for line in rejections.first(99)]


def test_json_lines_csv_and_parquet_say_the_same(tmp_path: Path) -> None:
    told = [
        estimate("A", 1),
        estimate("B, 2", 6, abstain="no bin"),
        estimate("C", 0, count=None, expected_count=None, probabilities={}, error="This is not a photo."),
        estimate("D", 4, previous="old.png", previous_count=3, unchanged=0.1),
    ]
    lines, _ = _read(write_lines(tmp_path / "counts.jsonl", told))
    writer = Csv(COUNT_KEYS, pairs=True)
    rows = [writer.line(CountEstimate.from_json(json.dumps(each))) for each in told]
    (tmp_path / "counts.csv").write_text(writer.header() + "".join(rows))
    table, _ = _read(tmp_path / "counts.csv")
    pl.read_csv(tmp_path / "counts.csv").write_parquet(tmp_path / "counts.parquet")
    parquet, _ = _read(tmp_path / "counts.parquet")
    assert lines.keys == table.keys == parquet.keys == COUNT_KEYS
    for other in (table, parquet):
        assert other.table.drop("line").equals(lines.table.drop("line"))
        assert np.allclose(other.shares_nk, lines.shares_nk, atol=1e-4)
    assert lines.table["previous_count"].to_list() == [None, None, None, 3]
    assert lines.shares_nk[2].tolist() == [0.0] * len(COUNT_KEYS)
    assert np.allclose(lines.shares_nk[[0, 1, 3]].sum(axis=1), 1.0)


def test_the_latest_photo_of_a_bin_stands(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "counts.jsonl",
        [
            estimate("1", 3, bin="A", taken_at="2026-01-02T00:00:00Z"),
            estimate("2", 2, bin="A", taken_at="2026-01-01T00:00:00Z"),
            estimate("3", 1, bin="B"),
            estimate("4", 5, bin="B", taken_at="2026-01-01T00:00:00Z"),
            estimate("5", 4, bin="B"),
        ],
    )
    seen, rejected = _read(path)
    assert rejected == []
    assert seen.table.select("bin", "count").rows() == [("A", 3), ("B", 4)]  # B: the last line
    assert (seen.photos, seen.untimed) == (5, 1)
    assert seen.shares_nk.argmax(axis=1).tolist() == [3, 4]


def test_a_table_of_photos_says_whose_bin_each_is_of(tmp_path: Path) -> None:
    counts = write_lines(tmp_path / "counts.jsonl", [estimate("1", 3), estimate("2", 2), estimate("3", 1)])
    bins = tmp_path / "bins.csv"
    bins.write_text("photo,bin,taken_at\nphotos/1.png,A,2026-01-01\n2.png,B,\n2.png,C,\n")
    seen, rejected = _read(counts, bins)
    assert seen.table.select("bin", "count").rows() == [("A", 3), ("B", 2)]
    assert [str(time) for time in seen.table["taken_at"]] == ["2026-01-01 00:00:00+00:00", "None"]
    assert rejected == [
        (4, "photo", "a line before has this photo"),
        (3, "path", f"{bins} names no bin of this photo"),
    ]


@pytest.mark.parametrize(
    ("line", "column", "why"),
    [
        ('{"path": "x', "", "JSON is malformed: invalid character (byte 11)"),
        (json.dumps(estimate("A", 1, count=-1)), "count", "a bin can't hold less than nothing"),
        (json.dumps(estimate("A", 1, bin_image_id=None)), "bin", "there is no bin"),
        (json.dumps(estimate("A", 1, taken_at="noon")), "taken_at", "no time like 2026-11-20T08:00:00Z"),
        (
            json.dumps(estimate("A", 1, probabilities=dict.fromkeys(COUNT_KEYS, 0.2))),
            "probabilities",
            "probabilities lie in 0..1 and sum to 1",
        ),
        (
            json.dumps(estimate("A", 1, probabilities={"1": 0.5, "2": 0.5})),
            "probabilities",
            "they are not of the counts 0 1 2 3 4 5 6+",
        ),
        (json.dumps({"path": "A.png", "bin_image_id": "A"}), "count", "it tells no count"),
    ],
)
def test_a_broken_line_is_named_and_the_rest_goes_in(tmp_path: Path, line: str, column: str, why: str) -> None:
    seen, rejected = _read(write_lines(tmp_path / "c.jsonl", [estimate("Y", 1), line, "", estimate("Z", 2)]))
    assert rejected == [(2, column, why)]
    assert seen.table["bin"].to_list() == ["Y", "Z"]


def test_plain_counts_need_no_probabilities(tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    path.write_text("bin,count,probability\nA,3,0.9\nB,2.5,\nC,,\nD,0,\n")
    seen, rejected = _read(path)
    assert (seen.keys, seen.shares_nk.shape) == ((), (2, 0))
    assert seen.table.select("bin", "count").rows() == [("A", 3), ("D", 0)]
    assert rejected == [(3, "count", "no whole number of items"), (4, "count", "it tells no count")]


@pytest.mark.parametrize(
    ("name", "text", "error", "says"),
    [
        ("c.csv", "bin,items\nA,1\n", DataError, "tells no counts"),
        ("c.csv", "bin,p_few,p_many\nA,0.5,0.5\n", DataError, "no counts"),
        ("c.csv", "bin,count\n", DataError, "no line that can be used. It is empty."),
        ("c.csv", "bin,count\nA,x\n", DataError, "no line that can be used. Line 2: no whole number of items."),
        ("c.jsonl", "", DataError, "no line that can be used"),
        ("c.xlsx", "PK", UsageError, "no known suffix"),
        ("c.parquet", "PAR0", UsageError, "can't be read"),
    ],
)
def test_what_is_no_file_of_counts_is_said_clearly(
    tmp_path: Path, name: str, text: str, error: type[Exception], says: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=says):
        _read(tmp_path / name)


def test_only_some_photos_of_a_file_that_grew(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "c.jsonl", [estimate("A", 1), estimate("B", 2)])
    seen = read_seen(path, None, Rejections(), only=frozenset({"photos/B.png"}))
    assert seen.table["bin"].to_list() == ["B"]


def test_numbers_that_are_none_are_no_probabilities(tmp_path: Path) -> None:
    shares: dict[str, Any] = dict.fromkeys((f"p_{key}" for key in COUNT_KEYS), "0")
    header = f"bin,count,{','.join(shares)}"
    good = ",".join(["1"] + ["0"] * (len(COUNT_KEYS) - 1))
    bad = ",".join(["nan"] + ["0"] * (len(COUNT_KEYS) - 1))
    (tmp_path / "c.csv").write_text(f"{header}\nA,0,{good}\nB,0,{bad}\n")
    seen, rejected = _read(tmp_path / "c.csv")
    assert seen.table["bin"].to_list() == ["A"]
    assert rejected == [(3, "probabilities", "probabilities lie in 0..1 and sum to 1")]
