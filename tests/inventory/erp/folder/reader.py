"""Who picks files up: books what is in them, takes them away, and tells what is in the bins."""

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import polars as pl

from bintally.inventory.erp.conformance import Bench
from bintally.inventory.erp.folder import FolderConnector, FolderSettings
from bintally.inventory.erp.folder.drops import DROPPED
from bintally.inventory.erp.folder.stock import DONE, STOCK


def new_folder(root: Path) -> Path:
    """As a person makes it."""
    (root / DROPPED).mkdir(parents=True)
    (root / STOCK).mkdir()
    return root


def dropped(root: Path) -> list[Path]:
    """What lies there to be read, in order."""
    return sorted(path for path in (root / DROPPED).iterdir() if path.is_file())


def rows_of(path: Path) -> list[dict[str, Any]]:
    """A dropped file's rows."""
    table = pl.read_csv(path, try_parse_dates=True) if path.suffix == ".csv" else pl.read_parquet(path)
    return table.to_dicts()


def tell_stock(root: Path, stock: Mapping[str, Mapping[str, int]], *, kind: str = "csv") -> Path:
    """Writes what is in the bins, as complete."""
    rows: list[tuple[str, str | None, int]] = [(code, None, 0) for code, lines in stock.items() if not lines]
    rows += [(code, sku, quantity) for code, lines in stock.items() for sku, quantity in lines.items()]
    frame = pl.DataFrame(rows, schema={"bin": pl.String, "product": pl.String, "quantity": pl.Int64}, orient="row")
    path = root / STOCK / f"stock-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.{kind}"
    if kind == "csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    path.with_name(path.name + DONE).touch()
    return path


class FolderBench(Bench):
    """A folder, and who reads it. `deletes`: what was read is deleted, not kept in `taken`."""

    refused_product = None

    def __init__(
        self, root: Path, *, kind: Literal["csv", "parquet"] = "csv", reads: bool = False, deletes: bool = True
    ) -> None:
        self.root = new_folder(root)
        self.settings = FolderSettings(path=root, format=kind, reads_stock=reads)
        self.stock: dict[str, dict[str, int]] = {}
        self._kind, self._deletes = kind, deletes
        tell_stock(root, self.stock, kind=kind)

    def connect(self) -> FolderConnector:
        return FolderConnector(self.settings)

    def unreachable(self) -> FolderConnector:
        return FolderConnector(FolderSettings(path=self.root / "not mounted"))

    def new_bin(self) -> str:
        code = f"F-{len(self.stock)}"
        self.stock[code] = {}
        return code

    def put(self, code: str, product: str, quantity: int) -> None:
        self.take()
        self.stock[code][product] = quantity
        if self.settings.reads_stock:
            tell_stock(self.root, self.stock, kind=self._kind)

    def held(self, code: str) -> Mapping[str, int]:
        self.take()
        return self.stock[code]

    def take(self) -> None:
        """Books all that lies there, in order."""
        for path in dropped(self.root):
            for row in rows_of(path):
                self._book(self.stock[row["bin"]], row)
            if self._deletes:
                path.unlink()
            else:
                (self.root / DROPPED / "taken").mkdir(exist_ok=True)
                shutil.move(path, self.root / DROPPED / "taken" / path.name)

    def _book(self, lines: dict[str, int], row: Mapping[str, Any]) -> None:
        product = row["product"] if row["product"] is not None else next(iter(lines))
        lines[product] = lines.get(product, 0) + row["change"]
