"""Photos listed beside earlier ones: a line for each, whatever is wrong with the others, resumable."""

import csv
import io
import json
from collections import Counter as Tally
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bintally.counting.batch import count
from bintally.counting.counter import Counter
from bintally.counting.inputs import read_input
from bintally.counting.pair_lines import count_beside, count_pairs_file, pair_of
from bintally.errors import DataError, ModelError, UsageError
from bintally.records import CountEstimate
from tests.bundles import bin_photo


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos 0.png .. 6.png of as many items, and one that can't be read."""
    folder = tmp_path_factory.mktemp("photos")
    for items in range(7):
        (folder / f"{items}.png").write_bytes(bin_photo(items))
    (folder / "broken.png").write_bytes(b"broken")
    return folder


def _listed(folder: Path, rows: Sequence[Sequence[object]], name: str = "pairs.csv") -> Path:
    path = folder / name
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "previous", "previous_count"), *rows])
    return path


def _estimates(pairs: Path, bundle: Path, **how: Any) -> list[CountEstimate]:
    to = io.StringIO()
    count_pairs_file(pairs=pairs, bundle=bundle, to=to, **how)
    return [CountEstimate.from_json(line) for line in to.getvalue().splitlines()]


MIXED = [
    ("3.png", "4.png", 4),
    ("2.png", "", ""),
    ("broken.png", "4.png", 4),
    ("3.png", "broken.png", 4),
    ("3.png", "gone.png", 4),
    ("3.png", "4.png", "four"),
    ("3.png", "4.png", -1),
    ("3.png", "4.png", 1.5),
    ("", "4.png", 4),
    ("3.png", "", 4),
    ("-", "4.png", 4),
    ("5.png", "3.png", ""),
    ("3.png", "4.png", "4.0"),
]


def test_each_line_has_its_answer_or_says_which_cell_is_wrong(telling_bundle: Path, folder: Path) -> None:
    to = io.StringIO()
    report = count_pairs_file(pairs=_listed(folder, MIXED), bundle=telling_bundle, to=to)
    lines = [CountEstimate.from_json(line) for line in to.getvalue().splitlines()]
    assert [(line.path, line.previous or "") for line in lines] == [(row[0], row[1]) for row in MIXED]
    assert [line.count for line in lines] == [3, 2, *[None] * 9, 5, 3]
    assert [line.error for line in lines[2:11]] == [
        "path: This is not a photo.",
        "previous: This is not a photo.",
        "previous: There is no photo gone.png.",
        "previous_count: 'four' is no whole number from 0 on.",
        "previous_count: '-1' is no whole number from 0 on.",
        "previous_count: '1.5' is no whole number from 0 on.",
        "path: There is no photo.",
        "previous_count: It needs the photo it is of, in `previous`.",
        "path: No line can have its photo from stdin.",
    ]
    assert [line.previous_count for line in lines[:5]] == [4, None, 4, 4, 4]
    assert (lines[12].previous_count, lines[12].unchanged) == (4, lines[0].unchanged)
    assert lines[1].unchanged is None
    assert (report.photos, report.counted, report.failed, report.resumed) == (13, 4, 9, 0)


def test_an_answer_is_the_one_that_counter_gives(telling_bundle: Path, folder: Path) -> None:
    rows = [(f"{new}.png", f"{old}.png", old if new % 2 else "") for new in range(7) for old in (1, 4, 6)]
    counter = Counter(telling_bundle, counts="1-5", threads=1)
    for line, (new, old, known) in zip(
        _estimates(_listed(folder, rows), telling_bundle, counts="1-5", batch_size=3, workers=2), rows, strict=True
    ):
        expected = counter.count(
            folder / str(new), previous=folder / str(old), previous_count=int(known) if known else None
        )
        assert line.probabilities == pytest.approx(expected.probabilities, abs=1e-4)
        assert line.unchanged == pytest.approx(expected.unchanged, abs=1e-4)
        assert (line.count, line.count_set, line.bin_image_id) == (expected.count, expected.count_set, str(new)[0])


def test_a_photo_alone_is_counted_as_without_a_list(telling_bundle: Path, folder: Path) -> None:
    [line] = _estimates(_listed(folder, [("3.png", "", "")]), telling_bundle)
    to = io.StringIO()
    count(photos=folder / "3.png", bundle=telling_bundle, to=to)
    assert set(json.loads(to.getvalue())) == set(json.loads(line.to_json()))
    assert line.probabilities == CountEstimate.from_json(to.getvalue()).probabilities


def test_a_path_stands_as_it_is_or_beside_the_list(
    telling_bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (here / "3.png").write_bytes(bin_photo(5))
    pairs = _listed(folder, [("3.png", "4.png", 4), (str(folder / "3.png"), "4.png", 4)])
    lines = _estimates(pairs, telling_bundle)
    assert [line.count for line in lines] == [5, 3]
    assert [line.path for line in lines] == ["3.png", str(folder / "3.png")]


def test_a_list_from_a_spreadsheet_is_read(telling_bundle: Path, folder: Path) -> None:
    """A byte-order mark, spaces after commas, columns of others' and trailing commas once made it unreadable."""
    pairs = folder / "sheet.csv"
    pairs.write_text(
        "\ufeffaisle, previous_count, path, previous\r\n7, 4.0, 3.png, 4.png,,\r\n\r\n8, , 2.png, \r\n",
        encoding="utf-8",
        newline="",
    )
    lines = _estimates(pairs, telling_bundle)
    assert [(line.count, line.previous, line.previous_count) for line in lines] == [(3, "4.png", 4), (2, None, None)]


def test_a_comma_in_a_name_without_quotes_is_told(telling_bundle: Path, folder: Path) -> None:
    pairs = folder / "comma.csv"
    pairs.write_text("path,previous,previous_count\na,b.png,4.png,4\n3.png,4.png,4\n")
    first, second = _estimates(pairs, telling_bundle)
    assert "quotes" in (first.error or "")
    assert second.count == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("path,previous\n3.png,4.png\n", "lacks the column previous_count"),
        ("photo;previous;previous_count\n", "lacks the columns path, previous, previous_count"),
        ("", "lacks the columns"),
        ("path,previous,previous_count\n", "has no line below its header"),
        ("path,previous,previous_count\n" + "x" * 200_000, "is no CSV"),
    ],
)
def test_a_list_that_is_none_is_told(telling_bundle: Path, tmp_path: Path, text: str, told: str) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(text)
    with pytest.raises(DataError, match=told) as caught:
        count_pairs_file(pairs=pairs, bundle=telling_bundle)
    assert caught.value.hint


def test_a_list_that_is_not_there_is_told(telling_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.csv can't be read: No such file"):
        count_pairs_file(pairs=tmp_path / "gone.csv", bundle=telling_bundle)


def test_a_model_that_can_not_compare_is_told_before_a_line_is_written(tiny_bundle: Path, folder: Path) -> None:
    to = io.StringIO()
    with pytest.raises(ModelError, match="does not compare photos"):
        count_pairs_file(pairs=_listed(folder, MIXED), bundle=tiny_bundle, to=to, style="csv")
    assert to.getvalue() == ""
    assert [line.count for line in _estimates(_listed(folder, [("3.png", "", "")]), tiny_bundle)] == [3]


def test_a_photo_of_neighbouring_lines_is_decoded_once(
    telling_bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Tally[str]()

    def counting(name: str) -> bytes:
        read[Path(name).name] += 1
        return read_input(name)

    monkeypatch.setattr("bintally.counting.ahead.read_input", counting)
    rows = [(f"{items}.png", f"{items - 1}.png", items - 1) for items in range(1, 7)]
    lines = _estimates(_listed(folder, rows), telling_bundle, batch_size=2)
    assert [line.count for line in lines] == [1, 2, 3, 4, 5, 6]
    assert read == {f"{items}.png": 1 for items in range(7)}


@pytest.mark.parametrize("style", ["csv", "table"])
def test_rows_show_what_was_known_before(telling_bundle: Path, folder: Path, style: Any) -> None:
    to = io.StringIO()
    pairs = _listed(folder, [("3.png", "4.png", 4), ("2.png", "", ""), ("broken.png", "4.png", 4)])
    count_pairs_file(pairs=pairs, bundle=telling_bundle, to=to, style=style)
    if style == "table":
        header, first, second, third = to.getvalue().splitlines()
        assert header.split()[-4:] == ["previous_count", "unchanged", "photo", "previous"]
        assert first.split()[-4:] == ["4", "4%", "3.png", "4.png"]
        assert second.split()[-1] == "2.png"
        assert third.endswith("broken.png  4.png  path: This is not a photo.")
        assert first.index("3.png") == second.index("2.png") == third.index("broken.png") == header.index("photo")
        return
    rows = list(csv.DictReader(io.StringIO(to.getvalue())))
    assert [(row["previous"], row["previous_count"]) for row in rows] == [("4.png", "4"), ("", ""), ("4.png", "4")]
    assert [bool(row["unchanged"]) for row in rows] == [True, False, False]
    assert float(rows[0]["unchanged"]) < 0.1


ROWS = [
    ("3.png", "4.png", 4),
    ("3.png", "4.png", 4),
    ("3.png", "", ""),
    ("broken.png", "4.png", 4),
    ("3.png", "2.png", ""),
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8)
@given(style=st.sampled_from(["jsonl", "csv"]), kept=st.integers(0, 4))
def test_a_stopped_run_goes_on_with_exactly_one_line_a_row(
    telling_bundle: Path, folder: Path, tmp_path: Path, style: str, kept: int
) -> None:
    """A pair that is listed twice has two lines; a path alone is another pair than the same beside an earlier photo."""
    out = tmp_path / f"counts.{style}"
    out.unlink(missing_ok=True)
    pairs = _listed(folder, ROWS)
    report = count_pairs_file(pairs=pairs, bundle=telling_bundle, out=out)
    assert (report.photos, report.failed, report.resumed) == (5, 1, 0)
    whole = out.read_text().splitlines(keepends=True)
    header = style == "csv"
    out.write_text("".join(whole[: header + kept]) + whole[header + kept][:9])
    report = count_pairs_file(pairs=pairs, bundle=telling_bundle, out=out)
    assert (report.photos, report.counted, report.failed, report.resumed) == (5, 4, 1, kept)
    again = out.read_text()
    if header:
        named = [(row["path"], row["previous"]) for row in csv.DictReader(io.StringIO(again))]
    else:
        lines = [CountEstimate.from_json(line) for line in again.splitlines()]
        named = [(line.path or "", line.previous or "") for line in lines]
    assert named == [(row[0], row[1]) for row in ROWS]


def test_pairs_and_photos_alone_are_not_mixed_in_one_file(telling_bundle: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "counts.jsonl"
    count(photos=folder / "3.png", bundle=telling_bundle, out=out)
    assert "pairs" not in json.loads((tmp_path / "counts.jsonl.settings.json").read_text())
    with pytest.raises(UsageError, match="holds results of photos alone, not of pairs of photos"):
        count_pairs_file(pairs=_listed(folder, ROWS), bundle=telling_bundle, out=out)


def test_one_photo_beside_an_earlier_one(telling_bundle: Path, folder: Path, tmp_path: Path) -> None:
    to = io.StringIO()
    new, old = folder / "3.png", folder / "4.png"
    report = count_beside(photo=new, previous=str(old), previous_count=4, bundle=telling_bundle, to=to)
    line = CountEstimate.from_json(to.getvalue())
    assert (line.path, line.previous, line.previous_count, line.count) == (str(new), str(old), 4, 3)
    assert (report.photos, report.counted) == (1, 1)
    report = count_beside(photo=new, previous=folder / "broken.png", bundle=telling_bundle, out=tmp_path / "a.jsonl")
    assert report.failed == 1
    assert "previous: This is not a photo." in (tmp_path / "a.jsonl").read_text()


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"photo": "."}, "is not one photo"),
        ({"previous": "."}, "is not one photo"),
        ({"photo": "*.png"}, "is not one photo"),
        ({"photo": "gone.png"}, "There is no photo or folder gone"),
        ({"previous": "gone.png"}, "There is no photo or folder gone"),
        ({"previous_count": -1}, "below 0"),
        ({"photo": "-", "previous": "-"}, "Only one photo can come from stdin"),
        ({"photo": "-", "out": "counts.jsonl"}, "no name to resume by"),
        ({"out": "counts.xlsx"}, "no known suffix"),
    ],
)
def test_one_photo_is_held_against_one_photo(
    telling_bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, named: dict[str, Any], told: str
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(UsageError, match=told):
        count_beside(**{"photo": "3.png", "previous": "4.png", "bundle": telling_bundle, **named})
    assert not list(folder.glob("counts*"))


@given(st.fixed_dictionaries({}, optional={"previous": st.text(), "previous_count": st.text()}), st.text())
def test_any_line_is_a_pair_or_says_what_is_wrong(cells: dict[str | None, str], path: str) -> None:
    pair = pair_of({**cells, "path": path}, Path("nowhere"))
    assert pair.path == path
    assert bool(pair.places) != bool(pair.problem)
    assert pair.previous_count is None or pair.previous_count >= 0
    assert pair.problem or (len(pair.places) == 2) == (pair.previous is not None)
