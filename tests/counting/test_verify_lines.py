"""Records held against photos: a verdict for each line, whatever is wrong with the others."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

import bintally
from bintally import Verification
from bintally.counting.counter import Counter
from bintally.counting.verify_lines import verify
from bintally.errors import DataError, ModelError, UsageError
from tests.bundles import bin_photo, make_bundle, no_bin_pixels

THREE = {"B1": 1, "B2": 1, "B3": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos 0.png .. 6.png of as many items, one that can't be read, one of no bin, and a record of three items."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("photos")
    for items in range(7):
        (folder / f"{items}.png").write_bytes(bin_photo(items))
    (folder / "broken.png").write_bytes(b"broken")
    Image.fromarray(no_bin_pixels()).save(folder / "face.png")
    (folder / "three.json").write_text(json.dumps(THREE))
    return folder


def _listed(folder: Path, rows: Sequence[Sequence[object]], header: Sequence[str] = ("path", "record")) -> Path:
    path = folder / "records.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def _verdicts(**how: Any) -> list[Verification]:
    to = io.StringIO()
    verify(to=to, **how)
    return [msgspec.json.decode(line, type=Verification) for line in to.getvalue().splitlines()]


def test_each_line_has_its_verdict_or_says_which_cell_is_wrong(telling_bundle: Path, folder: Path) -> None:
    rows = [
        ("3.png", "three.json", "", ""),
        ("3.png", '{"B1": 5, "B2": 1}', "", ""),
        ("4.png", "three.json", "3.png", 3),
        ("broken.png", "three.json", "", ""),
        ("3.png", "three.json", "broken.png", 3),
        ("3.png", "three.json", "3.png", "three"),
        ("3.png", "gone.json", "", ""),
        ("3.png", '{"B1": -5}', "", ""),
        ("3.png", "", "", ""),
        ("face.png", "three.json", "", ""),
        ("3.png", '{"B1": 1, "B2": 1, "B3": 1}', "3.png", ""),
    ]
    listed = _listed(folder, rows, ("path", "record", "previous", "previous_count"))
    to = io.StringIO()
    report = verify(listed=listed, bundle=telling_bundle, to=to)
    lines = [msgspec.json.decode(line, type=Verification) for line in to.getvalue().splitlines()]
    assert [line.path for line in lines] == [row[0] for row in rows]
    assert [line.record for line in lines] == [
        row[1] if str(row[1]).endswith(".json") else None for row in rows
    ]  # as it was given, not where it was found
    assert [line.error for line in lines[3:9]] == [
        "path: This is not a photo.",
        "previous: This is not a photo.",
        "previous_count: 'three' is no whole number from 0 on.",
        "record: The record gone.json can't be read: No such file or directory.",
        "record: The record's quantity of 'B1' is -5, no whole number from 0 on.",
        "record: There is no record.",
    ]
    judged = [lines[place] for place in (0, 1, 2, 10)]
    assert [(line.record_is_right or 0) > report.threshold for line in judged] == [True, False, False, True]
    assert [line.count for line in judged] == [3, 3, 4, 3]
    assert [line.recorded_count for line in lines[:4]] == [3, 6, 3, 3]
    assert all(line.reasons for line in judged)
    assert (lines[9].abstain or "").startswith("does not look like a bin")
    told = (report.photos, report.right, report.wrong, report.abstained, report.failed)
    assert told == (11, 2, 2, 1, 6)
    assert (report.model, report.licence) == ("tiny", "CC0-1.0")


@pytest.mark.parametrize("as_file", [True, False])
def test_a_verdict_is_the_one_that_counter_gives(telling_bundle: Path, folder: Path, as_file: bool) -> None:
    photo, record = folder / "3.png", folder / "three.json" if as_file else THREE
    earlier: dict[str, Any] = {"previous": folder / "2.png", "previous_count": 2}
    [line] = _verdicts(photo=photo, record=record, bundle=telling_bundle, **earlier)
    expected = Counter(telling_bundle, threads=1).verify(photo, record, **earlier)
    assert line.record_is_right == pytest.approx(expected.record_is_right, abs=1e-3)
    assert (line.path, line.record) == (str(photo), str(record) if as_file else None)
    assert (line.reasons, line.count) == (expected.reasons, expected.count)


def test_many_lines_are_judged_in_order(telling_bundle: Path, folder: Path) -> None:
    rows = [(f"{place % 7}.png", json.dumps({f"B{n}": 1 for n in range(place % 7)})) for place in range(30)]
    lines = _verdicts(listed=_listed(folder, rows), bundle=telling_bundle)
    assert [line.count for line in lines] == [place % 7 for place in range(30)]
    assert [line.recorded_count for line in lines] == [place % 7 for place in range(30)]


def test_a_record_of_nonsense_measures_is_judged_by_the_rest(telling_bundle: Path, folder: Path) -> None:
    nonsense = {side: {"value": -3} for side in ("height", "length", "width", "weight")}
    record = {"BIN_FCSKU_DATA": {asin: {"quantity": 1, **nonsense} for asin in THREE}}
    plain, odd = (_verdicts(photo=folder / "3.png", record=each, bundle=telling_bundle)[0] for each in (THREE, record))
    assert odd.record_is_right == plain.record_is_right


def test_measures_speak_too(telling_bundle: Path, folder: Path) -> None:
    """The test bundle sees average sizes: a record of pianos does not fit."""
    huge = {side: {"value": 90} for side in ("height", "length", "width", "weight")}
    record = {"BIN_FCSKU_DATA": {asin: {"quantity": 1, **huge} for asin in THREE}}
    [line] = _verdicts(photo=folder / "3.png", record=record, bundle=telling_bundle)
    assert "the record's longest side is larger than the photo's" in line.reasons


def test_people_get_a_table(telling_bundle: Path, folder: Path) -> None:
    rows = [("3.png", "three.json"), ("6.png", '{"B1": 1}'), ("broken.png", "three.json"), ("face.png", "three.json")]
    to = io.StringIO()
    verify(listed=_listed(folder, rows), bundle=telling_bundle, to=to, style="table")
    header, *lines = to.getvalue().splitlines()
    assert header == "right?  photo shows  record says  photo"
    assert lines[0].split()[1:5] == ["3", "(79%)", "3", "3.png"]
    assert "the photo shows 3, as recorded (79%)" in lines[0]
    assert lines[1].split()[1] == "6+"
    assert lines[2].split(maxsplit=3) == ["-", "3", "broken.png", "path: This is not a photo."]
    assert "face.png  abstains: does not look like a bin" in lines[3]
    assert {line.index("png") for line in lines[:2]} == {header.rindex("photo") + len("3.")}


@pytest.mark.parametrize(
    ("asked", "error", "told"),
    [
        ({}, UsageError, "A photo and a record"),
        ({"photo": "3.png"}, UsageError, "A photo and a record"),
        ({"record": "three.json"}, UsageError, "A photo and a record"),
        ({"photo": "gone.png", "record": "three.json"}, UsageError, "There is no photo or folder gone.png"),
        ({"photo": ".", "record": "three.json"}, UsageError, "is not one photo"),
        ({"photo": "3.png", "record": "gone.json"}, UsageError, "gone.json can't be read"),
        ({"photo": "3.png", "record": "3.png"}, DataError, "3.png is no JSON"),
        ({"photo": "3.png", "record": "three.json", "previous_count": 3}, UsageError, "needs the photo"),
        ({"listed": "records.csv", "photo": "3.png"}, UsageError, "by itself"),
        ({"listed": "three.json"}, DataError, "lacks the columns path, record"),
        ({"listed": "gone.csv"}, UsageError, "can't be read"),
    ],
)
def test_a_mistake_is_a_sentence_with_the_next_step(
    telling_bundle: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: dict[str, Any],
    error: type[UsageError | DataError],
    told: str,
) -> None:
    monkeypatch.chdir(folder)
    to = io.StringIO()
    with pytest.raises(error, match=told) as caught:
        verify(bundle=telling_bundle, to=to, style="table", **asked)
    assert caught.value.hint
    assert to.getvalue() == ""


def test_a_model_that_can_not_judge_is_told_before_a_line_is_written(
    tiny_bundle: Path, folder: Path, tmp_path: Path
) -> None:
    to = io.StringIO()
    with pytest.raises(ModelError, match="does not judge records"):
        verify(photo=folder / "3.png", record=THREE, bundle=tiny_bundle, to=to, style="table")
    judging = make_bundle(tmp_path / "judging", verification=True)
    with pytest.raises(ModelError, match="does not compare photos"):
        verify(photo=folder / "3.png", previous=folder / "3.png", record=THREE, bundle=judging, to=to, style="table")
    assert to.getvalue() == ""


def test_it_is_a_name_at_the_top_of_the_package(telling_bundle: Path, folder: Path) -> None:
    report = bintally.verify(photo=folder / "3.png", record=THREE, bundle=telling_bundle)
    assert (report.photos, report.right) == (1, 1)
