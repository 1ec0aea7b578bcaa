"""Stock records as they come: whatever somebody hands over is a record, or a sentence that says why not."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bintally.counting.facts import facts_of
from bintally.counting.stock_record import StockRecord, read_record
from bintally.errors import DataError, UsageError
from bintally.metadata import metadata_json
from bintally.records import BinRecord, Product

MAPPINGS = st.dictionaries(st.text().filter(lambda asin: asin != "BIN_FCSKU_DATA"), st.integers(0, 2**31 - 1))
MEASURES = st.none() | st.floats(0, 1e6)
PRODUCTS = st.builds(
    Product,
    st.text(min_size=1),
    st.text(),
    st.integers(0, 2**31 - 1),
    height_in=MEASURES,
    length_in=MEASURES,
    width_in=MEASURES,
    weight_lb=MEASURES,
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(object())
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.sampled_from(["quantity", "height", "value", "BIN_FCSKU_DATA"]), inner)
    ),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MAPPINGS)
def test_any_mapping_is_read_back_however_it_comes(tmp_path: Path, quantities: dict[str, int]) -> None:
    text, file = json.dumps(quantities), tmp_path / "record.json"
    file.write_text(text)
    for record in (quantities, text, text.encode(), f"\n {text}", file, str(file)):
        read = read_record(record)
        assert {product.asin: product.quantity for product in read.products} == quantities
        assert read.items == sum(quantities.values())
        assert read.name == (str(file) if record in (file, str(file)) else None)
        assert read_record(read) is read


@given(st.lists(PRODUCTS, unique_by=lambda product: product.asin))
def test_metadata_is_read_with_its_names_and_measures(products: list[Product]) -> None:
    data = metadata_json(BinRecord("00001", 3, tuple(products)))
    expected = sorted(products, key=lambda product: product.asin)
    for record in (data, data.decode(), json.loads(data)):
        assert sorted(read_record(record).products, key=lambda product: product.asin) == expected


@given(
    st.one_of(
        ANYTHING.filter(lambda value: isinstance(value, dict | str | bytes)),
        st.dictionaries(st.integers() | st.none() | st.text(), ANYTHING),
        st.fixed_dictionaries({"BIN_FCSKU_DATA": ANYTHING}),
        st.text().map(lambda text: "{" + text),
    )
)
@example("a\0b")
@example("x" * 5000)
@example("")
@example('{"\ud800": 1}')
@example({"\ud800": 1, "BIN_FCSKU_DATA": {}})
@example({5: 1})
@example({"BIN_FCSKU_DATA": {"B000": {"quantity": 2**80}}})
@example({"BIN_FCSKU_DATA": {"B000": {"quantity": 1, "weight": {"value": float("nan")}}}})
@example('{"a": ' * 100_000)
@example(b"\xff")
@example(b"[]")
def test_garbage_is_an_error_with_a_hint_and_nothing_else(record: Any) -> None:
    try:
        read = read_record(record)
    except (DataError, UsageError) as error:
        assert error.hint
    else:
        assert all(isinstance(product, Product) for product in read.products)
        assert all(isinstance(product.asin, str) and product.quantity >= 0 for product in read.products)
        facts_of(read.products)


@pytest.mark.parametrize("value", [-1, -0.5, -200, 1e308])
def test_a_measure_that_no_product_has_is_no_crash(value: float) -> None:
    """The logarithm of a length below zero once ended the whole run."""
    entry = {"quantity": 2} | {side: {"value": value} for side in ("height", "length", "width", "weight")}
    facts = facts_of(read_record({"BIN_FCSKU_DATA": {"B000": entry}}).products)
    assert facts.items == 2


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"B000": -1}, "quantity of 'B000' is -1"),
        ({"B000": "2"}, "quantity of 'B000' is '2'"),
        ({"B000": True}, "quantity of 'B000' is True"),
        ('{"B000": 1', "The record is no JSON"),
        ({"BIN_FCSKU_DATA": {"B000": {}}}, "product B000 has no quantity"),
        ({"BIN_FCSKU_DATA": []}, r"BIN_FCSKU_DATA is \[\]"),
    ],
)
def test_what_is_wrong_is_named(record: dict[str, Any] | str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read_record(record)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match=r"The record gone\.json can't be read: No such file"):
        read_record("gone.json")


def test_an_empty_record_is_of_an_empty_bin() -> None:
    assert read_record({}) == StockRecord(())
    assert read_record("{}").items == 0
