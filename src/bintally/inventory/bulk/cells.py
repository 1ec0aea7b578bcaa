"""The lines of a CSV file as cells, with their line numbers, a block at a time.

Lines without a quote (most, in most files) are cut by polars, all at once. Lines with one go through Python's `csv`
(RFC 4180): a quoted cell may hold separators and line breaks. A quote that opens a cell and is not closed as it should
be breaks its own line only: the next line is read for itself, and keeps its number.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from bintally.errors import DataError

BLOCK_BYTES: Final = 16 << 20
_LONGEST_LINE: Final = 64 << 20
_MOST_LINES: Final = 50  # that a quoted cell may run over
_SHOWN: Final = 80  # characters of a broken value
_SEPARATORS: Final = (",", ";", "\t")

REJECTS: Final = pl.Schema({"line": pl.Int64, "column": pl.String, "value": pl.String, "why": pl.String})
"""The table of lines that can't go in."""


class Batch(NamedTuple):
    """`rows`: `line` and the file's columns as text, null where empty. `torn`: lines that are no rows (`REJECTS`)."""

    rows: pl.DataFrame
    torn: pl.DataFrame
    amount: int  # bytes of a CSV file, rows of Parquet


class Header(NamedTuple):
    """A file's first line: its columns, what separates them, and where the second line begins."""

    columns: list[str]
    separator: str
    end: int


def header_of(path: Path) -> Header:
    """The first line of a CSV file.

    Raises:
        DataError: there is none, or it is not UTF-8.
    """
    with path.open("rb") as file:
        first = file.readline(_LONGEST_LINE)
        end = file.tell()
    if not first.strip():
        raise DataError(f"{path} is empty.", hint="Its first line names the columns.")
    try:
        text = first.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise DataError(f"{path} is no CSV file in UTF-8.", hint="Save it as UTF-8 (or as Parquet).") from None
    separator = max(_SEPARATORS, key=text.count)
    return Header(next(csv.reader([text], delimiter=separator)), separator, end)


def batches(path: Path, header: Header, *, block_bytes: int = BLOCK_BYTES) -> Iterator[Batch]:
    """The lines after the header, in blocks that end with a row.

    Raises:
        DataError: a line is longer than 64 MiB.
    """
    first, kept, ended = 2, b"", False
    with path.open("rb") as file:
        file.seek(header.end)
        while not ended:
            data = file.read(block_bytes)
            ended = len(data) < block_bytes
            pending = kept + data
            end = len(pending) if ended else pending.rfind(b"\n") + 1
            if not end and len(pending) > _LONGEST_LINE:
                raise DataError(f"{path} has no line breaks.", hint="Is it a CSV file?")
            block, tail = pending[:end], pending[end:]
            cut = _cut(block, first, header, is_last=ended or len(pending) > _LONGEST_LINE)
            kept = cut.unread + tail
            first += cut.lines
            yield Batch(cut.rows, cut.torn, len(block) - len(cut.unread))


class _CutBlock(NamedTuple):
    rows: pl.DataFrame
    torn: pl.DataFrame
    lines: int
    unread: bytes  # the last lines, where a quoted cell may go on in the next block


def _cut(block: bytes, first: int, header: Header, *, is_last: bool) -> _CutBlock:
    text, undecodable = _decoded(block)
    lines = pl.Series("text", [text.removesuffix("\n")]).str.split("\n").explode().str.strip_suffix("\r")
    lines = lines if block else lines.clear()
    has_quote = lines.str.contains('"', literal=True).to_numpy().astype(bool)
    is_open = np.ones(len(lines), bool)
    is_open[undecodable] = False
    quoted = _Quoted([], [], len(lines))
    if (has_quote & is_open).any():
        quoted = _read_quoted(lines.to_list(), has_quote, is_open, header, is_last=is_last)
    blank = rf"^[\s{header.separator}]*$"  # spreadsheets end a table with rows of separators alone
    numbered = pl.DataFrame({"line": np.arange(len(lines)), "text": lines}).head(quoted.end)
    plain = numbered.filter(pl.Series((~has_quote & is_open)[: quoted.end]), ~pl.col("text").str.contains(blank))
    cells = len(header.columns)
    fits = pl.col("text").str.count_matches(header.separator, literal=True) == cells - 1
    told = [(at, text, "is not UTF-8") for at, text in zip(undecodable, lines.gather(undecodable), strict=True)]
    torn = pl.concat(
        [
            _torn([(at, text, why) for at, text, why in (*told, *quoted.torn) if at < quoted.end]),
            plain.filter(~fits).select(
                "line",
                pl.lit(None, pl.String).alias("column"),
                pl.col("text").str.slice(0, _SHOWN).alias("value"),
                pl.format(
                    f"has {{}} cells, the header {cells}",
                    pl.col("text").str.count_matches(header.separator, literal=True) + 1,
                ).alias("why"),
            ),
        ]
    )
    rows = _split(plain.filter(fits), header)
    if quoted.rows:
        schema = {"line": pl.Int64, **dict.fromkeys(rows.columns[1:], pl.String)}
        rows = pl.concat([rows, pl.DataFrame(quoted.rows, schema=schema, orient="row")]).sort("line")
    unread = b"" if quoted.end == len(lines) else b"\n".join(block.split(b"\n")[quoted.end :])
    number = pl.col("line") + first
    text_or_null = pl.col(rows.columns[1:]).str.strip_chars().replace("", None)
    return _CutBlock(rows.with_columns(number, text_or_null), torn.with_columns(number), quoted.end, unread)


def _decoded(block: bytes) -> tuple[str, list[int]]:
    """A block as text, and which of its lines are not UTF-8."""
    try:
        return block.decode(), []
    except UnicodeDecodeError:
        lines = block.split(b"\n")
        texts = [line.decode(errors="replace") for line in lines]
        return "\n".join(texts), [at for at, text in enumerate(texts) if "\ufffd" in text and not _is_utf8(lines[at])]


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _split(plain: pl.DataFrame, header: Header) -> pl.DataFrame:
    names = [f"column_{at}" for at in range(len(header.columns))]
    parts = pl.col("text").str.split_exact(header.separator, len(names) - 1)
    return plain.select("line", parts.struct.rename_fields(names).alias("cells")).unnest("cells")


class _Quoted(NamedTuple):
    rows: list[tuple[int | str, ...]]
    torn: list[tuple[int, str, str]]
    end: int  # the first line that was left for the next block


def _read_quoted(
    lines: list[str], has_quote: np.ndarray, is_open: np.ndarray, header: Header, *, is_last: bool
) -> _Quoted:
    """Rows of lines with quotes. Lines that a cell runs over are no longer open."""
    found = _Quoted([], [], len(lines))
    for at in np.flatnonzero(has_quote & is_open).tolist():
        if not is_open[at]:
            continue
        ahead = lines[at : at + _MOST_LINES]
        reader = csv.reader((line + "\n" for line in ahead), delimiter=header.separator, strict=True)
        try:
            cells = next(reader)
        except csv.Error as error:
            runs_on = "unexpected end" in str(error)
            if runs_on and not is_last and len(ahead) < _MOST_LINES:
                return found._replace(end=at)
            why = "opens a quote and does not close it" if runs_on else f"has a broken quote: {error}"
            found.torn.append((at, lines[at], why))
            continue
        if len(cells) == len(header.columns) and is_open[at : at + reader.line_num].all():
            is_open[at + 1 : at + reader.line_num] = False
            if any(cell.strip() for cell in cells):
                found.rows.append((at, *cells))
        elif reader.line_num > 1:
            found.torn.append((at, lines[at], "opens a quote and does not close it"))
        else:
            found.torn.append((at, lines[at], f"has {len(cells)} cells, the header {len(header.columns)}"))
    return found


def _torn(lines: Sequence[tuple[int, str, str]]) -> pl.DataFrame:
    return pl.DataFrame([(at, None, text[:_SHOWN], why) for at, text, why in lines], schema=REJECTS, orient="row")
