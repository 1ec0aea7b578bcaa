"""ABID's file formats: what real files look like, and what broken ones become."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.data.abid import Label, is_file_name, parse_labels, parse_list
from bintally.errors import DataError, SourceError
from bintally.metadata import metadata_json, parse_metadata
from bintally.records import BinRecord, Product

# The shape of a published file, with a product that has no measures (53 of 28,881 have none) and no name (6 have none).
PUBLISHED = b"""{
    "BIN_FCSKU_DATA": {
        "B0001": {
            "asin": "B0001",
            "height": {"unit": "IN", "value": 2.7999999971439995}, "length": {"unit": "IN", "value": 6.5},
            "name": "Ink", "normalizedName": "Ink", "quantity": 2,
            "weight": {"unit": "pounds", "value": 0.85}, "width": {"unit": "IN", "value": 3.8}
        },
        "B0002": {"asin": "B0002", "height": null, "length": null, "name": null, "normalizedName": null,
                  "quantity": 1, "weight": null, "width": null}
    },
    "EXPECTED_QUANTITY": 3
}"""

measures = st.none() | st.floats(0.01, 200, allow_nan=False)
products = st.builds(
    Product,
    asin=st.text(string.ascii_uppercase + string.digits, min_size=10, max_size=10),
    name=st.text(st.characters(codec="utf-8"), max_size=20),
    quantity=st.integers(0, 99),
    height_in=measures,
    length_in=measures,
    width_in=measures,
    weight_lb=measures,
)


def test_a_published_file_is_read_with_its_gaps() -> None:
    metadata = parse_metadata(PUBLISHED)
    assert metadata.expected_quantity == 3
    assert metadata.problems == ()
    assert metadata.products[0] == Product("B0001", "Ink", 2, 2.7999999971439995, 6.5, 3.8, 0.85)
    assert metadata.products[1] == Product("B0002", "", 1)


def test_an_empty_bin_is_a_record_too() -> None:
    metadata = parse_metadata(b'{"BIN_FCSKU_DATA": {}, "EXPECTED_QUANTITY": 0, "image_fname": "100.jpg"}')
    assert metadata.record("100") == BinRecord("100", 0, ())


@given(st.lists(products, max_size=4, unique_by=lambda product: product.asin), st.integers(0, 99))
def test_a_record_survives_writing_and_reading(held: list[Product], count: int) -> None:
    record = BinRecord("00001", count, tuple(sorted(held, key=lambda product: product.asin)))
    metadata = parse_metadata(metadata_json(record))
    assert metadata.record("00001") == record
    assert metadata.problems == ()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "no JSON"),
        (PUBLISHED[:150], "no JSON"),
        (b"\xff\xfe{}", "no JSON"),
        (b"[1, 2]", "no JSON object"),
        (b'{"BIN_FCSKU_DATA": {}}', "EXPECTED_QUANTITY is missing"),
        (b'{"BIN_FCSKU_DATA": {}, "EXPECTED_QUANTITY": "3"}', "EXPECTED_QUANTITY is '3'"),
        (b'{"BIN_FCSKU_DATA": {}, "EXPECTED_QUANTITY": true}', "EXPECTED_QUANTITY is True"),
        (b'{"BIN_FCSKU_DATA": {}, "EXPECTED_QUANTITY": -1}', "EXPECTED_QUANTITY is -1"),
        (b'{"BIN_FCSKU_DATA": {}, "EXPECTED_QUANTITY": 2.5}', "EXPECTED_QUANTITY is 2.5"),
        (b'{"BIN_FCSKU_DATA": {}, "EXPECTED_QUANTITY": 99999999999}', "EXPECTED_QUANTITY is 99999999999"),
    ],
)
def test_metadata_without_a_usable_count_says_why(data: bytes, problem: str) -> None:
    metadata = parse_metadata(data)
    assert metadata.expected_quantity is None
    assert problem in metadata.problems[0]
    with pytest.raises(DataError, match="tells no count"):
        metadata.record("00001")


def test_one_bad_product_costs_neither_the_count_nor_the_others() -> None:
    document = json.loads(PUBLISHED)
    document["BIN_FCSKU_DATA"]["B0002"]["quantity"] = "one"
    metadata = parse_metadata(json.dumps(document).encode())
    assert metadata.expected_quantity == 3
    assert [product.asin for product in metadata.products] == ["B0001"]
    assert metadata.problems == ("product B0002 has no quantity that is a whole number",)


@given(st.binary(max_size=60))
def test_no_bytes_make_reading_metadata_fail(data: bytes) -> None:
    parse_metadata(data)


@pytest.mark.parametrize(
    "value",
    [
        "[" * 5000,
        '{"EXPECTED_QUANTITY": 1, "BIN_FCSKU_DATA": {"B": {"quantity": 1, "height": {"value": 1%s}}}}' % ("0" * 400),
    ],
)
def test_deep_nesting_and_endless_numbers_are_no_accident_either(value: str) -> None:
    """Each once stopped a whole fetch, at every attempt."""
    parse_metadata(value.encode())


@pytest.mark.parametrize(
    "data", [b'{"1": ["../../x/...json", "a/.."]}', b'{"-1": ["00001.json"]}', b'{"99999999999": ["00001.json"]}']
)
def test_a_list_cannot_lead_out_of_the_folder_or_count_the_impossible(data: bytes) -> None:
    labels = parse_list(data, "file_list.json")
    assert labels.by_id == {}
    assert labels.problems


def test_the_course_list_keeps_the_zeros_of_ids() -> None:
    listed = parse_list(
        b'{"1": ["data/metadata/100313.json", "data/metadata/09915.json"], "5": ["x/00005.json"]}', "l.json"
    )
    assert listed.by_id == {"100313": Label(1, "list"), "09915": Label(1, "list"), "00005": Label(5, "list")}


def test_an_id_that_a_list_has_under_two_counts_is_told() -> None:
    listed = parse_list(b'{"1": ["a/7.json"], "2": ["a/7.json"]}', "l.json")
    assert listed.by_id["7"].count == 1
    assert "'7' stands twice" in listed.problems[0]


def test_a_list_may_be_a_table_without_counts() -> None:
    listed = parse_list(b"id\n00001\n1\n", "ids.csv")
    assert listed.by_id == {"00001": Label(), "1": Label()}


@pytest.mark.parametrize("data", [b"{", b'["a"]', b'{"many": ["a/1.json"]}', b'{"1": "a/1.json"}'])
def test_a_list_in_another_shape_is_refused(data: bytes) -> None:
    with pytest.raises(SourceError, match="no list of photos"):
        parse_list(data, "file_list.json")


def test_labels_are_read_whoever_saved_them() -> None:
    table = "\ufeffid,count,encoding,group,split,batch\r\n00001,3,native,g1,train,a\r\n1,,,,,\r\n".encode()
    labels = parse_labels(table, "labels.csv")
    assert labels.by_id == {"00001": Label(3, "labels", "g1", "train", "native"), "1": Label()}
    assert labels.problems == ()


def test_values_that_make_no_sense_are_left_out_and_told() -> None:
    table = b"id,count,split\n1,three,train\n2,-1,\n3,4,holdout\n,5,\n../x,1,\n4,1,\n4,2,\n5,6+,\n"
    labels = parse_labels(table, "labels.csv")
    assert {known: label.count for known, label in labels.by_id.items()} == {
        "1": None,
        "2": None,
        "3": 4,
        "4": 1,
        "5": None,
    }
    assert labels.by_id["3"].split is None
    assert [problem.partition(":")[0] for problem in labels.problems] == [
        f"labels.csv line {line}" for line in (2, 3, 4, 5, 6, 8, 9)
    ]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "it has none"),
        (b"name,count\na,1\n", "no column 'id'"),
        (b"id\n1\n", "no column 'count'"),
        (b"\xff\xfei", "CSV"),
    ],
)
def test_a_table_without_its_columns_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(SourceError, match=told):
        parse_labels(data, "labels.csv")


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\\b", "a\0b", "x" * 201, "ü" * 101])
def test_what_can_lead_out_of_a_folder_is_no_id(name: str) -> None:
    assert not is_file_name(name)


@pytest.mark.parametrize("name", ["1", "00001", "IMG 1.2", "ü"])
def test_other_names_are_ids(name: str) -> None:
    assert is_file_name(name)
