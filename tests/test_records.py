"""The words the rooms speak to each other."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.records import (
    COUNT_KEYS,
    BinRecord,
    CountEstimate,
    Product,
    Timings,
    expectation,
    key_of,
    parse_counts,
    to_plain,
)

ESTIMATE = CountEstimate(
    path="00001.jpg",
    bin_image_id="00001",
    count=3,
    expected_count=3.14159,
    probabilities={"2": 0.25, "3": 0.5, "6+": 0.25},
    count_set=("3", "2"),
    model="champion",
    timings=Timings(decode_ms=1.23456, inference_ms=9.87654),
)


@pytest.mark.parametrize(("count", "key"), [(0, "0"), (5, "5"), (6, "6+"), (88, "6+")])
def test_a_count_falls_under_its_key(count: int, key: str) -> None:
    assert key_of(count) == key


def test_without_an_open_top_a_large_count_has_no_key_of_the_model() -> None:
    assert key_of(7, ("1", "2", "3")) == "7"


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("1-5", ("1", "2", "3", "4", "5")),
        ("0,2,6+", ("0", "2", "6+")),
        ("3-6+", ("3", "4", "5", "6+")),
        (" 2 , 1 ", ("1", "2")),
        ("1-3,2-4", ("1", "2", "3", "4")),
        ("0-6+", COUNT_KEYS),
    ],
)
def test_counts_are_parsed_in_order_and_once(text: str, keys: tuple[str, ...]) -> None:
    assert parse_counts(text) == keys


@pytest.mark.parametrize("text", ["", ",", "7", "5-1", "1-", "-3", "6", "1 - 5", "one"])
def test_what_is_no_count_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="no count"):
        parse_counts(text)


@given(st.sets(st.sampled_from(COUNT_KEYS), min_size=1))
def test_any_selection_is_parsed_back(keys: set[str]) -> None:
    assert set(parse_counts(",".join(keys))) == keys


def test_the_most_probable_counts_probability() -> None:
    assert ESTIMATE.probability == 0.5
    assert CountEstimate(error="no photo").probability == 0.0


@pytest.mark.parametrize(("recorded", "probability"), [(3, 0.5), (2, 0.25), (6, 0.25), (40, 0.25), (1, 0.0)])
def test_the_probability_that_the_record_is_right(recorded: int, probability: float) -> None:
    assert ESTIMATE.probability_of(recorded) == probability


def test_nothing_is_known_of_a_photo_that_could_not_be_read() -> None:
    assert CountEstimate(error="no photo").probability_of(3) == 0.0


def test_json_is_one_line_with_figures_one_can_read() -> None:
    line = ESTIMATE.to_json()
    assert "\n" not in line
    record = json.loads(line)
    assert record["expected_count"] == 3.142
    assert record["timings"] == {"decode_ms": 1.23, "inference_ms": 9.88}
    assert record["bin_image_id"] == "00001"
    assert list(record["probabilities"]) == ["2", "3", "6+"]
    assert set(record) == set(CountEstimate.__struct_fields__)


@pytest.mark.parametrize("told", [{"unchanged": 0.123456}, {"previous": "earlier.jpg", "error": "no photo"}])
def test_json_tells_of_the_earlier_photo_where_there_was_one(told: dict[str, Any]) -> None:
    """The line of a pair that could not be read once lost which pair it was of."""
    record = json.loads(CountEstimate(path="new.jpg", **told).to_json())
    assert set(record) == set(CountEstimate.__struct_fields__)
    assert record["previous"] == told.get("previous")
    assert record["unchanged"] in (None, 0.1235)


def test_json_is_read_back() -> None:
    again = CountEstimate.from_json(ESTIMATE.to_json())
    assert again.to_json() == ESTIMATE.to_json()
    assert CountEstimate.from_json(CountEstimate(error="no photo").to_json()) == CountEstimate(error="no photo")


@pytest.mark.parametrize("line", [b"", ESTIMATE.to_json()[:-1], '{"count": "three"}', "[]"])
def test_a_torn_or_foreign_line_is_an_error(line: str | bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        CountEstimate.from_json(line)


def test_records_are_frozen() -> None:
    with pytest.raises(AttributeError):
        ESTIMATE.count = 4  # type: ignore[misc]  # what the test is about


def test_a_record_as_plain_data() -> None:
    record = BinRecord("1", 2, (Product("B000", "Glue", 2, height_in=1.5),))
    plain = to_plain(record)
    assert plain["bin_image_id"] == "1"
    assert plain["products"][0] == {
        "asin": "B000",
        "name": "Glue",
        "quantity": 2,
        "height_in": 1.5,
        "length_in": None,
        "width_in": None,
        "weight_lb": None,
    }
    assert json.loads(json.dumps(plain)) == plain | {"products": list(plain["products"])}


def test_the_expectation_takes_the_open_top_at_its_value() -> None:
    assert expectation({"2": 0.5, "6+": 0.5}, {"2": 2.0, "6+": 9.0}) == 5.5
