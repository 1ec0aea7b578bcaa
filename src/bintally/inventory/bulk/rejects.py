"""The list of lines that can't go in: on disk while it grows, in the order of the file at the end."""

from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from bintally.artifacts import storage_errors
from bintally.inventory.bulk.cells import REJECTS

SHOWN: Final = 20


class Rejected(msgspec.Struct, frozen=True):
    """A line of the file that can't go in, and why. `column` None: it is no row at all."""

    line: int
    column: str | None
    value: str | None
    why: str

    def __str__(self) -> str:
        cell = f"{self.column} {self.value!r} " if self.column and self.value is not None else ""
        where = cell or f"{self.column or 'the line'} "
        return f"line {self.line:,}: {f'{where[:-1]}: ' if self.why[:1].isupper() else where}{self.why}"


class Rejects:
    """Collects tables of `cells.REJECTS` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.count = 0
        self._folder = folder
        self._parts = 0

    def add(self, rejects: pl.DataFrame) -> None:
        """Some more, in any order."""
        if rejects.height:
            rejects.write_parquet(self._folder / f"rejects-{self._parts:06}.parquet")
            self._parts += 1
            self.count += rejects.height

    def first(self) -> tuple[Rejected, ...]:
        """The first few of the file."""
        if not self.count:
            return ()
        rows = self._all().bottom_k(SHOWN, by="line").sort("line").collect()
        return tuple(Rejected(*row) for row in rows.iter_rows())

    def write(self, target: Path) -> None:
        """All of them, as CSV. Without any, a list of an earlier run is emptied."""
        if not self.count and not target.exists():
            return
        with storage_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}.tmp")
            rejects = self._all().sort("line", maintain_order=True) if self.count else pl.LazyFrame(schema=REJECTS)
            rejects.sink_csv(part)
            part.replace(target)

    def _all(self) -> pl.LazyFrame:
        return pl.scan_parquet(self._folder / "rejects-*.parquet")
