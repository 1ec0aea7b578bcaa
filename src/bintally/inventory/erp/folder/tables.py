"""Postings as files: a row for each product."""

import io
from typing import Final, Literal

import msgspec
import polars as pl

from bintally.inventory.erp.protocol import Line, Posting
from bintally.inventory.formulas import as_words, is_formula

COLUMNS: Final[dict[str, pl.DataType]] = {
    "key": pl.String(),
    "kind": pl.String(),
    "site": pl.String(),
    "bin": pl.String(),
    "product": pl.String(),
    "before": pl.Int64(),
    "after": pl.Int64(),
    "change": pl.Int64(),
    "counted_at": pl.Datetime("us", "UTC"),
    "by": pl.String(),
    "approved_by": pl.String(),
    "note": pl.String(),
    "reverses": pl.String(),
}
"""Of a file, in this order (docs/erp.md says what they mean)."""


def content_of(posting: Posting, kind: Literal["csv", "parquet"], *, formulas: bool) -> bytes:
    """A posting as a file; without `formulas`, words that look like one have an apostrophe in front in CSV."""
    if kind == "csv" and not formulas:
        posting = _without_formulas(posting)
    frame = pl.DataFrame([_row(posting, line) for line in posting.lines], schema=COLUMNS, orient="row")
    file = io.BytesIO()
    if kind == "parquet":
        frame.write_parquet(file)
        return file.getvalue()
    frame = frame.with_columns(pl.col(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
    frame.write_csv(file, quote_style="non_numeric")
    return file.getvalue()


def formula_in(posting: Posting) -> str | None:
    """A code of a posting that a spreadsheet would take for a formula. With an apostrophe it would be another code."""
    codes = [posting.site, posting.bin, *(line.product for line in posting.lines if line.product is not None)]
    return next((code for code in codes if is_formula(code)), None)


def _row(posting: Posting, line: Line) -> tuple[object, ...]:
    p = posting
    where = (p.key, p.kind, p.site, p.bin, line.product)
    return (*where, line.before, line.after, line.change, p.counted_at, p.by, p.approved_by, p.note, p.reverses)


def _without_formulas(posting: Posting) -> Posting:
    words = {"by": posting.by, "approved_by": posting.approved_by, "note": posting.note}
    safe = {name: as_words(text) for name, text in words.items() if text}
    return msgspec.structs.replace(posting, **safe)
