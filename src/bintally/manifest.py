"""The contract between data and training: one table, one row a photo.

A data folder holds photos, their metadata and up to three tables of this one schema, each a stage's result:

```
DATA/bin-images/<id>.jpg
DATA/metadata/<id>.json
DATA/manifest.parquet     fetch: what there is
DATA/checked.parquet      check: + size, brightness, sharpness, hash, why a photo is set aside
DATA/split.parquet        split: + group and split
```

Paths are relative to DATA, so the folder can be moved, or read by another machine.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import polars as pl

from bintally.artifacts import sha256_of, write_bytes
from bintally.errors import ManifestError
from bintally.records import TOP_KEY

FETCHED: Final = "manifest.parquet"
CHECKED: Final = "checked.parquet"
SPLIT: Final = "split.parquet"

_ORDER: Final = (FETCHED, CHECKED, SPLIT)

SPLITS: Final = ("train", "val", "test")

SCHEMA: Final[dict[str, pl.DataType]] = {
    # from fetch
    "bin_image_id": pl.String(),  # a string: in ABID `1` and `00001` are different bins
    "path": pl.String(),  # of the photo, relative to the manifest's folder, with "/"
    "metadata_path": pl.String(),  # null where there is none
    "sha256": pl.String(),  # of the photo's bytes
    "size_bytes": pl.Int64(),
    "recorded_count": pl.Int32(),  # the label; null where nobody told
    "count_source": pl.String(),  # "metadata", "labels", "list" or "folder": who told
    "product_ids": pl.List(
        pl.String()
    ),  # ASINs in the record; their quantities would leak the label, so they are not here
    "encoding": pl.String(),  # how the photo was encoded before it came here, where the source says; null otherwise
    # from check (null before)
    "width_px": pl.Int32(),
    "height_px": pl.Int32(),
    "brightness": pl.Float32(),  # mean luma, 0-255
    "sharpness": pl.Float32(),  # variance of the Laplacian of the luma at 224 px
    "dhash": pl.UInt64(),  # 64-bit difference hash: near duplicates differ in few bits
    "quarantine": pl.List(pl.String()),  # why the photo is set aside; empty: it is not
    "warnings": pl.List(pl.String()),  # what is odd about it, though it stays in
    # from split, or given by the source (null before)
    "group": pl.String(),  # photos of one bin over time; never divided between splits
    "split": pl.String(),  # "train", "val" or "test"
}


class Manifest:
    """The table of a data folder's photos, checked against `SCHEMA`."""

    def __init__(self, folder: Path, table: pl.DataFrame, *, name: str = FETCHED) -> None:
        self.folder = folder
        self.name = name
        self.table = _checked(table, folder / name)

    def __len__(self) -> int:
        return self.table.height

    @classmethod
    def read(cls, folder: Path, *names: str) -> Self:
        """The first of the tables `names` that `folder` has (default: the latest stage's).

        Raises:
            ManifestError: there is none, or it was damaged or edited against the schema.
        """
        for name in names or (SPLIT, CHECKED, FETCHED):
            path = folder / name
            if path.is_file():
                try:
                    return cls(folder, pl.read_parquet(path), name=name)
                except (pl.exceptions.PolarsError, OSError) as error:
                    raise ManifestError(f"{path} is no readable table: {error}.", hint=_REMAKE[name]) from error
        wanted = (names or (FETCHED,))[0]
        raise ManifestError(f"There is no {wanted} in {folder}.", hint=_REMAKE[wanted])

    @classmethod
    def build(cls, folder: Path, rows: Sequence[dict[str, object]]) -> Self:
        """A manifest of `rows`; columns a row leaves out are null."""
        table = pl.DataFrame([{name: row.get(name) for name in SCHEMA} for row in rows], schema=SCHEMA)
        return cls(folder, table)

    def write(self, name: str) -> Path:
        """Writes the table as `name` into its folder, atomically, and returns the path.

        A table that changed makes the later stages' tables wrong, so they go: what is stale is never trained on.

        Raises:
            StorageError: disk full, or no permission.
        """
        path = self.folder / name
        buffer = io.BytesIO()  # polars would turn a full disk into an error of its own
        self.table.write_parquet(buffer)
        if not (path.is_file() and path.read_bytes() == buffer.getvalue()):
            for later in _ORDER[_ORDER.index(name) + 1 :]:
                (self.folder / later).unlink(missing_ok=True)
        write_bytes(path, buffer.getvalue())
        return path

    def with_table(self, table: pl.DataFrame) -> Self:
        """The same folder with another table."""
        return type(self)(self.folder, table, name=self.name)

    @property
    def path(self) -> Path:
        """The file this table was read from or goes by."""
        return self.folder / self.name

    def usable(self, split: str | None = None, counts: Sequence[str] | None = None) -> pl.DataFrame:
        """Rows with a count that check did not set aside; of one `split` and of the count keys `counts`, if given.

        Adds the column `count_key`, e.g. "3" or "6+".
        """
        table = self.table.filter(
            pl.col("recorded_count").is_not_null() & (pl.col("quarantine").list.len().fill_null(0) == 0)
        ).with_columns(count_key=count_key(pl.col("recorded_count")))
        if split is not None:
            table = table.filter(pl.col("split") == split)
        if counts is not None:
            table = table.filter(pl.col("count_key").is_in(list(counts)))
        return table

    def fingerprint(self) -> str:
        """SHA-256 of the written table: names the exact photos, counts and splits of a training."""
        return sha256_of(self.path)


def count_key(count: pl.Expr) -> pl.Expr:
    """`records.key_of` for a whole column: 4 -> "4", 17 -> "6+"."""
    return pl.when(count >= int(TOP_KEY[:-1])).then(pl.lit(TOP_KEY)).otherwise(count.cast(pl.String))


_REMAKE = {
    FETCHED: "Make it with `bintally fetch SOURCE --out FOLDER`.",
    CHECKED: "Make it with `bintally check FOLDER`.",
    SPLIT: "Make it with `bintally split FOLDER`.",
}


def _checked(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    missing = [name for name in SCHEMA if name not in table.columns]
    unknown = [name for name in table.columns if name not in SCHEMA]
    if missing or unknown:
        told = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has unknown {', '.join(unknown)}"] * bool(unknown)
        raise ManifestError(f"{path} was edited: it {' and '.join(told)}.", hint=_remake(path))
    try:
        table = table.select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items())
    except pl.exceptions.PolarsError as error:
        raise ManifestError(f"{path} was edited: {error}.", hint=_remake(path)) from error
    for rule, broken in _RULES.items():
        bad = table.filter(broken)
        if bad.height:
            raise ManifestError(
                f"{path} was edited: {rule} in {bad.height} row(s), first bin_image_id {bad['bin_image_id'][0]!r}.",
                hint=_remake(path),
            )
    return table


def _remake(path: Path) -> str:
    return _REMAKE.get(path.name, "Make it anew.")


_RULES: dict[str, pl.Expr] = {
    "no bin_image_id": pl.col("bin_image_id").is_null() | (pl.col("bin_image_id") == ""),
    "a bin_image_id that stands twice": pl.col("bin_image_id").is_duplicated(),
    "no path, or one that leads out of the folder": pl.col("path").is_null()
    | pl.col("path").str.contains(r"^/|(^|/)\.\.(/|$)"),
    "a metadata_path that leads out of the folder": pl.col("metadata_path").is_not_null()
    & pl.col("metadata_path").str.contains(r"^/|(^|/)\.\.(/|$)"),
    "a negative recorded_count": pl.col("recorded_count") < 0,
    "an unknown split": pl.col("split").is_not_null() & ~pl.col("split").is_in(SPLITS),
}
