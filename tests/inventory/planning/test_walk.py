"""Where bins are, and the way through the aisles."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.errors import ConfigError, DataError
from bintally.inventory.planning.places import natural, place_of, read_layout
from bintally.inventory.planning.settings import PlanSettings, WalkSettings
from bintally.inventory.planning.walk import way

SETTINGS = WalkSettings(bay_m=1.0, aisle_m=4.0)
CODES = st.lists(st.from_regex(r"[A-D]-[0-9]{1,2}-[1-4]", fullmatch=True), unique=True, max_size=30)


def _way(codes: list[str], settings: WalkSettings = SETTINGS) -> tuple[list[str], float, float]:
    found = way(codes, {code: place for code in codes if (place := place_of(code))}, settings)
    return list(found.bins), found.before_m, found.after_m


@pytest.mark.parametrize(
    ("code", "aisle", "position", "level"),
    [
        ("A-12-3", "A", 12, "3"),
        ("A-12", "A", 12, ""),
        ("A01B02", "A-01", 2, "02"),
        ("Z1/A-07_C", "Z1-A", 7, "C"),
        ("A.B.2", "A", 2, "2"),
        ("00042", "", 42, ""),
    ],
)
def test_codes_are_read_as_people_read_them(code: str, aisle: str, position: float, level: str) -> None:
    place = place_of(code)
    assert place is not None
    assert (place.aisle, place.position, place.level) == (aisle, position, natural(level))


def test_codes_of_another_kind_are_read_by_a_pattern() -> None:
    pattern = re.compile(r"Gang (?P<aisle>\d+) Platz (?P<position>\d+)")
    place = place_of("Gang 3 Platz 9", pattern)
    assert place is not None
    assert (place.aisle, place.position) == ("3", 9.0)
    assert place_of("A-1", pattern) is None
    assert place_of("--") is None
    for code, why in (("(", "no regular expression"), ("(?P<aisle>.)", "lacks the group position")):
        with pytest.raises(ConfigError, match=why):
            PlanSettings.of({"walk": {"code": code}})


def test_numbers_sort_as_numbers() -> None:
    assert sorted(["A-10", "a-2", "A-1"], key=natural) == ["A-1", "a-2", "A-10"]


def test_the_way_is_an_s() -> None:
    codes = ["B-1-1", "A-9-1", "C-8-1", "A-1-1", "B-9-2", "B-9-1", "C-2-1", "A-10-1"]
    order, before, after = _way(codes)
    assert order == ["A-1-1", "A-9-1", "A-10-1", "B-9-1", "B-9-2", "B-1-1", "C-2-1", "C-8-1"]
    assert after == 9 + (4 + 1) + 8 + (4 + 1) + 6
    assert after < before


def test_of_both_ways_to_begin_the_shorter_one_is_taken() -> None:
    order, _, after = _way(["A-10-1", "A-9-1", "B-10-1", "B-1-1"])
    assert (order[:2], after) == (["A-9-1", "A-10-1"], 1 + 4 + 9)
    order, _, after = _way(["A-1-1", "A-2-1", "B-1-1", "B-10-1"])
    assert (order[:2], after) == (["A-2-1", "A-1-1"], 1 + 4 + 9)


@given(CODES)
def test_every_bin_is_gone_to_once(codes: list[str]) -> None:
    order, _, _ = _way(codes)
    assert sorted(order) == sorted(codes)
    assert _way(order)[0] == _way(codes)[0], "and the way does not depend on how they came"


def test_a_layout_says_where_bins_are(tmp_path: Path) -> None:
    path = tmp_path / "layout.csv"
    path.write_text("bin,aisle,position,level,x,y\nq,2,1,1,4,0\nr,1,2,1,0,2\ns,1,1,1,0,1\nother,9,9,9,9,9\n")
    places = read_layout(path, ["q", "r", "s", "lost"])
    assert set(places) == {"q", "r", "s"}
    found = way(["q", "lost", "r", "s"], places, SETTINGS)
    assert found.bins == ("r", "s", "q", "lost")
    assert (found.before_m, found.after_m, found.unplaced) == (4 + 2 + 1, 1 + 5, 1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("bin,aisle,position\nq,1,1\n", "lacks the column level"),
        ("bin,aisle,position,level\nq,1,far,1\n", "line 2: position 'far' is no number"),
        ("bin,aisle,position,level\nq,1,1,1\nq,1,2,1\n", "line 3: bin 'q' is missing or there twice"),
        ("bin,aisle,position,level\nq,1,1,1\nr,1\n", "line 3 has 2 cells"),
    ],
)
def test_a_layout_that_makes_no_sense_is_refused_with_its_line(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "layout.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=why):
        read_layout(path, ["q"])
