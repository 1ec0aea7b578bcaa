"""Lines keep their numbers, whatever is broken about others."""

import csv
import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.errors import DataError
from bintally.inventory.bulk.cells import batches, header_of

BROKEN = (
    b"bin,quantity,effective_at\r\nA,1,x\r\n\r\n"
    b'"B ""q""",2,y\nC,"multi\nline",z\nD,"open,3\nE,5,e\nF,\xff,f\nG,1\nH,1,2,3\n"I"x,1,2\nJ,"\xfe\nK",1\nL, 7 ,\n'
)


def _read(path: Path, block_bytes: int = 1 << 20) -> tuple[pl.DataFrame, pl.DataFrame]:
    read = list(batches(path, header_of(path), block_bytes=block_bytes))
    rows = pl.concat([batch.rows for batch in read])
    return rows, pl.concat([batch.torn for batch in read]).sort("line")


@pytest.mark.parametrize("block_bytes", [1 << 20, 1, 7, 23, 64])
def test_broken_lines_are_listed_and_the_others_keep_their_numbers(tmp_path: Path, block_bytes: int) -> None:
    path = tmp_path / "torn.csv"
    path.write_bytes(BROKEN)
    rows, torn = _read(path, block_bytes)
    assert rows.rows() == [
        (2, "A", "1", "x"),
        (4, 'B "q"', "2", "y"),
        (5, "C", "multi\nline", "z"),
        (8, "E", "5", "e"),
        (15, "L", "7", None),
    ]
    assert dict(torn.select("line", "why").rows()) == {
        7: "has a broken quote: ',' expected after '\"'",
        9: "is not UTF-8",
        10: "has 2 cells, the header 3",
        11: "has 4 cells, the header 3",
        12: "has a broken quote: ',' expected after '\"'",
        13: "is not UTF-8",
        14: "has 2 cells, the header 3",
    }


def test_a_quote_that_is_never_closed_breaks_its_own_line_only(tmp_path: Path) -> None:
    path = tmp_path / "open.csv"
    path.write_text('a,b\n1,"2\n' + "".join(f"{line},x\n" for line in range(500)))
    rows, torn = _read(path)
    assert torn.rows() == [(2, None, '1,"2', "opens a quote and does not close it")]
    assert rows["line"].to_list() == list(range(3, 503))


CELLS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), max_size=6
) | st.sampled_from(['a"b', "a,b", "x\ny", '"', "\n"])


@given(table=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=12), block_bytes=st.integers(1, 60))
def test_what_the_csv_module_writes_is_read_as_it_was_written(
    table: list[tuple[str, str, str]], block_bytes: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["a", "b", "c"])
    writer.writerows(table)
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_text(text.getvalue(), newline="")
    read = list(batches(path, header_of(path), block_bytes=block_bytes))
    got = [tuple(cell or "" for cell in row[1:]) for batch in read for row in batch.rows.rows()]
    stripped = [tuple(cell.strip() for cell in row) for row in table]
    assert got == [row for row in stripped if any(row)], "rows of nothing are no rows"
    assert sum(batch.torn.height for batch in read) == 0
    assert sum(batch.amount for batch in read) == path.stat().st_size - header_of(path).end


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "is empty"), (b"\n\n", "is empty"), (b"\xff\xfea\x00,\x00", "no CSV file in UTF-8")]
)
def test_a_file_without_a_header_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        header_of(tmp_path / "t.csv")


def test_the_separator_is_what_the_header_uses(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("\ufeffa;b\n1;2,5\n".encode())
    assert header_of(path)[:2] == (["a", "b"], ";")
    assert _read(path)[0].rows() == [(2, "1", "2,5")]
