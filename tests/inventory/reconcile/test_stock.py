"""Records from files: products of a bin are one record, and what can't be used is named with its line."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.errors import DataError, UsageError
from bintally.inventory.reconcile.rejected import Rejections
from bintally.inventory.reconcile.stock import Stock, read_stock


def _read(tmp_path: Path, text: str) -> tuple[Stock, list[tuple[int | None, str, str]]]:
    path = tmp_path / "stock.csv"
    path.write_text(text)
    rejections = Rejections()
    stock = read_stock(path, rejections)
    return stock, [(line.line, line.column, line.why) for line in rejections.first(99)]


def test_lines_of_a_bin_are_its_products(tmp_path: Path) -> None:
    stock, rejected = _read(
        tmp_path, "bin,product,quantity,unit_value,abc\nA,x,1,10,C\nB,z,4.0,,\nA,y,3,2,A\nC,w,0,5,b\n"
    )
    assert rejected == []
    assert stock.table.select("bin", "recorded", "products", "unit_value", "abc").rows() == [
        ("A", 4, 2, 4.0, "A"),  # 1 x 10 and 3 x 2 over 4 items; the strictest class
        ("B", 4, 1, None, "C"),
        ("C", 0, 1, 5.0, "B"),
    ]


def test_a_bin_without_a_product_line_is_another_bin_so_it_is_not_judged(tmp_path: Path) -> None:
    stock, rejected = _read(tmp_path, "bin,product,quantity\nA,x,1\nA,y,-2\nB,z,4\n")
    assert stock.table["bin"].to_list() == ["B"]
    assert stock.rejected_bins.to_list() == ["A"]
    assert rejected == [
        (2, "bin", "another line of this bin was rejected, so its record is not whole"),
        (3, "quantity", "a bin can't hold less than nothing"),
    ]


@pytest.mark.parametrize(
    ("line", "column", "why"),
    [
        (",x,1,each,,,", "bin", "there is no bin"),
        ("A,x,,each,,,", "quantity", "there is no quantity"),
        ("A,x,2.5,each,,,", "quantity", "items are counted whole"),
        ("A,x,many,each,,,", "quantity", "no number"),
        ("A,x,1.000,each,,,", "quantity", "may have decimals or thousands: write it without the point"),
        ('A,x,"2,5",each,,,', "quantity", "no number: write a decimal point, no commas"),
        ('A,x,1,each,"12,50",,', "unit_value", "no amount: write a decimal point, no commas"),
        ("A,x,9999999999,each,,,", "quantity", "more than 2,147,483,647"),
        ("A,x,1,case,,,", "unit", "most lines count in 'each'; units are not mixed"),
        ("A,x,1,each,-1,,", "unit_value", "no amount"),
        ("A,x,1,each,,D,", "abc", "no class: A, B or C"),
        ("A,x,1,each,,,soon", "as_of", "no time like 2026-11-20T08:00:00Z"),
        ("A,x,1", "", "has 3 cells, the header 7"),
        ('A,"x,1,each,,,', "", "opens a quote and does not close it"),
    ],
)
def test_a_broken_line_is_named_and_the_rest_goes_in(tmp_path: Path, line: str, column: str, why: str) -> None:
    header = "bin,product,quantity,unit,unit_value,abc,as_of"
    stock, rejected = _read(tmp_path, f"{header}\nY,p,1,each,1,A,2026-01-01\n{line}\nZ,p,2,EACH,,,\n")
    assert rejected == [(3, column, why)]
    assert stock.table["bin"].to_list() == ["Y", "Z"]


def test_the_same_line_twice_counts_once_and_contradictions_not_at_all(tmp_path: Path) -> None:
    stock, rejected = _read(tmp_path, "bin,product,quantity\nA,x,1\nA,x,1\nB,x,1\nB,x,2\nC,x,3\n")
    assert dict(stock.table.select("bin", "recorded").iter_rows()) == {"A": 1, "C": 3}
    assert stock.rejected_bins.to_list() == ["B"]
    assert rejected == [
        (3, "bin", "it says the same as line 2"),
        (4, "quantity", "two lines of this bin and product say different things"),
        (5, "quantity", "two lines of this bin and product say different things"),
    ]


def test_the_latest_version_of_a_record_stands(tmp_path: Path) -> None:
    stock, rejected = _read(
        tmp_path, "bin,quantity,as_of\nA,1,2026-01-01\nA,2,2026-01-02T10:00+02:00\nA,3,2026-01-02T07:59:00Z\n"
    )
    assert rejected == []
    assert stock.table.select("bin", "recorded").rows() == [("A", 2)]
    assert str(stock.table["as_of"][0]) == "2026-01-02 08:00:00+00:00"


def test_parquet_says_the_same_as_csv(tmp_path: Path) -> None:
    text = "bin,product,quantity,unit_value,abc,as_of\nA,x,1,2.5,A,2026-01-01T00:00:00\nA,y,2,1,B,2026-01-01T00:00:00\n"
    stock, _ = _read(tmp_path, text)
    path = tmp_path / "stock.parquet"
    pl.read_csv(tmp_path / "stock.csv", try_parse_dates=True).write_parquet(path)
    rejections = Rejections()
    assert read_stock(path, rejections).table.equals(stock.table)
    assert len(rejections) == 0


def test_a_decimal_number_of_parquet_has_no_thousands(tmp_path: Path) -> None:
    """Databases give NUMERIC(10, 3); once its 1.000 would have been taken for what may be a thousand."""
    quantity = pl.Series("quantity", ["1.000", "20.000"]).cast(pl.Decimal(10, 3))
    pl.DataFrame([pl.Series("bin", ["A", "B"]), quantity]).write_parquet(tmp_path / "stock.parquet")
    rejections = Rejections()
    assert read_stock(tmp_path / "stock.parquet", rejections).table["recorded"].to_list() == [1, 20]
    assert not len(rejections)


def test_a_folder_of_metadata_is_records_too(tmp_path: Path) -> None:
    (tmp_path / "00001.json").write_text('{"BIN_FCSKU_DATA": {}, "EXPECTED_QUANTITY": 3}')
    (tmp_path / "00002.json").write_text('{"BIN_FCSKU_DATA": {}, "EXPECTED_QUANTITY": "three"}')
    rejections = Rejections()
    assert read_stock(tmp_path, rejections).table.select("bin", "recorded").rows() == [("00001", 3)]
    (wrong,) = rejections.first(9)
    assert (wrong.file, wrong.line) == (str(tmp_path / "00002.json"), None)
    assert wrong.why == "EXPECTED_QUANTITY is 'three'"


def test_what_is_no_file_of_records_is_said_clearly(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks the column quantity.* Did you mean 'quantty'\?"):
        _read(tmp_path, "bin,quantty\nA,1\n")
    with pytest.raises(DataError, match="column 'bin' twice"):
        _read(tmp_path, "bin,bin,quantity\nA,B,1\n")
    with pytest.raises(DataError, match="has no record"):
        _read(tmp_path, "bin,quantity\n")
    (tmp_path / "stock.xlsx").write_bytes(b"PK")
    with pytest.raises(UsageError, match="no known suffix"):
        read_stock(tmp_path / "stock.xlsx", Rejections())


_CELL = st.sampled_from(["A", "B", "C", ""])
_LINES = st.lists(
    st.tuples(_CELL, st.sampled_from(["x", "y", ""]), st.sampled_from(["0", "3", "2.0", "-1", "2.5", "", "x"])).filter(
        any  # lines of separators alone are no lines
    ),
    min_size=1,
    max_size=12,
)


@given(lines=_LINES)
def test_every_line_is_in_a_record_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, str, str]]
) -> None:
    path = tmp_path_factory.mktemp("stock") / "stock.csv"
    path.write_text("bin,product,quantity\n" + "".join(f"{','.join(line)}\n" for line in lines))
    rejections = Rejections()
    stock = read_stock(path, rejections)
    told = [line.line for line in rejections.first(99)]
    assert len(told) == len(set(told))
    in_records = [number for number in range(2, len(lines) + 2) if number not in told]
    assert len(in_records) == stock.table["products"].sum()
    for bin_id, recorded in stock.table.select("bin", "recorded").iter_rows():
        of_bin = [lines[number - 2] for number in in_records if lines[number - 2][0] == bin_id]
        assert recorded == sum(int(float(quantity)) for _, _, quantity in of_bin)
    assert not set(stock.table["bin"]) & set(stock.rejected_bins)
