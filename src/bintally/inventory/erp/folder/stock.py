"""What is in the bins, as the newest complete file in `stock` says.

Its name ends in the moment of its stock: stock-20260131T120000Z.csv. It is complete once there is a .done beside it.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from bintally.errors import ErpRefusedError, ErpUnavailableError

STOCK: Final = "stock"
DONE: Final = ".done"

_MOMENT: Final = re.compile(r"(\d{8}T\d{6})(\.\d{1,6})?Z\.(csv|parquet)")
_COLUMNS: Final = ("bin", "product", "quantity")
_MOST: Final = 2**31 - 1


class Snapshot(msgspec.Struct, frozen=True):
    """All stock as it was at a moment: columns bin, product (null: none there), quantity."""

    frame: pl.DataFrame
    as_of: datetime

    def lines(self, bins: Sequence[str] | None) -> dict[str, dict[str, int]]:
        """How many of each product are in `bins` (None: in all); nothing of one that the file does not name."""
        rows = self.frame if bins is None else self.frame.filter(pl.col("bin").is_in(list(bins)))
        found: dict[str, dict[str, int]] = {}
        for code, product, quantity in rows.iter_rows():
            lines = found.setdefault(code, {})
            if product is not None:
                lines[product] = quantity
        return found


class StockFiles:
    """Reads each file once."""

    def __init__(self, root: Path) -> None:
        self._folder = root / STOCK
        self._known: tuple[tuple[object, ...], Snapshot] | None = None

    def newest(self) -> Snapshot:
        """The newest complete file's stock.

        Raises:
            ErpUnavailableError: there is none.
            ErpRefusedError: it can't be understood.
        """
        path, as_of = self._newest()
        about = path.stat()
        version = (path, about.st_mtime_ns, about.st_size)
        if self._known is None or self._known[0] != version:
            self._known = (version, Snapshot(_read(path), as_of))
        return self._known[1]

    def _newest(self) -> tuple[Path, datetime]:
        paths = list(self._folder.iterdir()) if self._folder.is_dir() else []
        names = {path.name for path in paths}
        found = [(at, path.name, path) for path in paths if path.name + DONE in names and (at := _moment(path.name))]
        if not found:
            raise ErpUnavailableError(
                f"There is no complete file in {self._folder}.",
                hint="Such as stock-20260131T120000Z.csv, with an empty stock-20260131T120000Z.csv.done beside it.",
            )
        at, _, path = max(found)
        return path, at


def _moment(name: str) -> datetime | None:
    told = _MOMENT.search(name)
    if told is None or told.end() != len(name):
        return None
    try:
        return datetime.strptime(told[1] + (told[2] or ".0"), "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)
    except ValueError:
        return None


def _read(path: Path) -> pl.DataFrame:
    """A file's rows, those of the same bin and product together.

    Raises:
        ErpRefusedError: it is no such table.
    """
    try:
        rows = pl.read_csv(path, infer_schema=False) if path.suffix == ".csv" else pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise ErpRefusedError(f"{path} can't be read: {str(error).splitlines()[0]}.", hint="Write it anew.") from None
    missing = [name for name in _COLUMNS if name not in rows.columns]
    if missing:
        raise ErpRefusedError(f"{path} has no column {missing[0]}.", hint=f"It needs {', '.join(_COLUMNS)}.")
    texts = rows.select(pl.col("bin", "product").cast(pl.String), "quantity").with_row_index("row", offset=1)
    table = texts.with_columns(
        pl.when(pl.col("product") != "").then("product"), pl.col("quantity").cast(pl.Float64, strict=False)
    )
    _check(path, table)
    whole = table.with_columns(pl.col("quantity").cast(pl.Int64))
    return whole.group_by("bin", "product", maintain_order=True).agg(pl.col("quantity").sum())


def _check(path: Path, table: pl.DataFrame) -> None:
    quantity = pl.col("quantity")
    is_whole = quantity.is_between(0, _MOST) & (quantity == quantity.floor())
    wrong: Mapping[str, pl.Expr] = {
        "no bin": pl.col("bin").fill_null("") == "",
        "no whole quantity of 0 or more": ~is_whole.fill_null(value=False),
        "items of no product": pl.col("product").is_null() & (quantity > 0),
    }
    for what, rows in wrong.items():
        found = table.filter(rows)
        if found.height:
            raise ErpRefusedError(f"{path} has {what} in row {found['row'][0]}.", hint="Mend it, or write it anew.")
