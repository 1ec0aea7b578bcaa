"""The judged table as files: CSV, JSON lines, Parquet. Reasons are made a part at a time."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final

import polars as pl

from bintally.artifacts import atomic_write
from bintally.errors import UsageError
from bintally.inventory.reconcile.judged import Judged
from bintally.progress import Progress

TABLES: Final = (".csv", ".jsonl", ".ndjson", ".parquet")
PAGES: Final = (".html",)

_AT_ONCE: Final = 1 << 16  # rows
_DIGITS: Final = 4


def check_suffix(out: Path) -> None:
    """Looks whether a file of this kind can be written.

    Raises:
        UsageError: no such kind is known.
    """
    if out.suffix.lower() not in (*TABLES, *PAGES):
        raise UsageError(f"{out} has no known suffix.", hint=f"Results are written to {', '.join((*TABLES, *PAGES))}.")


def write_tables(outs: Sequence[Path], judged: Judged, progress: Progress) -> None:
    """All tables at once, each whole or not at all, so that every reason is made once.

    Raises:
        StorageError: disk full, or no permission.
    """
    with ExitStack() as stack:
        files = {out: stack.enter_context(atomic_write(out)) for out in outs}
        parquet = [file for out, file in files.items() if out.suffix.lower() == ".parquet"]
        task = stack.enter_context(progress.task("write", total=judged.table.height, unit="bins"))
        kept: list[pl.DataFrame] = []
        for start in range(0, max(judged.table.height, 1), _AT_ONCE):
            part = judged.rows(start, start + _AT_ONCE).with_columns(pl.col(pl.Float64).round(_DIGITS))
            _lines({out: file for out, file in files.items() if file not in parquet}, part, is_first=start == 0)
            kept += [part] if parquet else []
            task.advance(part.height)
        for file in parquet:
            pl.concat(kept).write_parquet(file)


def _lines(files: Mapping[Path, IO[bytes]], part: pl.DataFrame, *, is_first: bool) -> None:
    """Appends rows to files of lines: times in ISO 8601."""
    if not files:
        return
    part = part.with_columns(pl.col("taken_at", "as_of").dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ"))
    for out, file in files.items():
        if out.suffix.lower() == ".csv":
            part.with_columns(pl.col("reasons").list.join("; ")).write_csv(file, include_header=is_first)
        else:
            part.write_ndjson(file)
