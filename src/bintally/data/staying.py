"""Which split each photo was given once: a folder that grows keeps its test photos unseen.

`DATA/drawn.parquet` has a row of the manifest for each photo that ever had a split here, gone ones too, with the split
it was given and how that was drawn. It is written before split.parquet: a kill between the two changes nothing.

Photos stay where they were, and new photos of their bins go there too. A new photo may show that two bins are one. If
those were in different splits, the bin belongs to the one furthest from training, and its photos that were in another
one are left out: a model may have learnt from them. No photo ever moves.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from bintally.artifacts import write_bytes
from bintally.errors import ManifestError
from bintally.manifest import SCHEMA, SPLIT, SPLITS, Manifest

DRAWN: Final = "drawn.parquet"

_HOW: Final = "drawn_by"  # its one column beside the manifest's
_REPORT: Final = "split.json"  # tells how a split was drawn by a version that kept no DRAWN
_RANKS: Final = {name: rank for rank, name in enumerate(SPLITS)}  # the further from training, the higher


class Since(msgspec.Struct, frozen=True):
    """Photos that stayed in their split, were left out though they had one, and moved from val or test into train."""

    kept: int = 0
    set_apart: int = 0
    moved: int = 0


class Before(msgspec.Struct, frozen=True):
    """What was drawn before: rows of the manifest with their splits, and how they were drawn, in words."""

    photos: pl.DataFrame
    how: str

    def with_gone_ones(self, table: pl.DataFrame) -> pl.DataFrame:
        """A manifest's table and, behind it, the photos that were there once: they still tie bins together."""
        gone = self.photos.join(table, on="bin_image_id", how="anti").with_columns(split=pl.lit(None, pl.String))
        return pl.concat([table, gone.select(table.columns)])

    def homes(self, grouped: pl.DataFrame) -> pl.DataFrame:
        """`bin_image_id`, `home` and `split` of the rows of `with_gone_ones`, now that they have groups.

        `home`: the split that the photo's bin belongs to, null where the bin is new; `split`: the photo's own, null
        where it was in another one.
        """
        was = self.photos.select("bin_image_id", was="split")
        known = grouped.select("bin_image_id", "group").join(was, on="bin_image_id", how="left", maintain_order="left")
        highest = pl.col("was").replace_strict(_RANKS, default=None, return_dtype=pl.Int8).max().over("group")
        names = {rank: name for name, rank in _RANKS.items()}
        known = known.with_columns(home=highest.replace_strict(names, default=None, return_dtype=pl.String))
        stays = pl.col("was").is_null() | (pl.col("was") == pl.col("home"))
        return known.select("bin_image_id", "home", split=pl.when(stays).then("home"))

    def since(self, usable: pl.DataFrame) -> Since:
        """What became of these photos, as far as they are still usable."""
        pairs = self.photos.select("bin_image_id", was="split").join(
            usable.select("bin_image_id", now="split"), on="bin_image_id"
        )
        moved = (pl.col("now") == "train") & (pl.col("was") != "train")
        return Since(
            kept=pairs.filter(pl.col("was") == pl.col("now")).height,
            set_apart=pairs["now"].null_count(),
            moved=pairs.filter(moved).height,
        )


def how_drawn(how: str, shares: Mapping[str, float], seed: int) -> str:
    """How a split is drawn, in words: by other words it is another draw."""
    if how == "given":
        return "as given"
    parts = ", ".join(f"{100 * share:.4g}% {name}" for name, share in shares.items())
    return f"{how}, {parts}, seed {seed}"


def read_before(data: Path) -> Before | None:
    """What was drawn in a data folder before; None: nothing was.

    Raises:
        ManifestError: it can't be read.
    """
    path = data / DRAWN
    if not path.is_file():
        return _of_older_version(data)
    try:
        table = pl.read_parquet(path)
        photos = table.select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items())
        return Before(photos, str(table[_HOW][0]))
    except (pl.exceptions.PolarsError, OSError, IndexError) as error:
        raise ManifestError(
            f"{path} can't be read: {error}.",
            hint="It says which photos no model has learnt from: put it back, or draw anew with --fresh.",
        ) from error


def write_drawn(data: Path, stays: Before | None, table: pl.DataFrame, how: str) -> None:
    """Remembers the splits of `table` (its groups as the source gave them), and those of `stays`, which never change.

    Raises:
        StorageError: disk full, or no permission.
    """
    kept = table
    if stays is not None:
        was = stays.photos.select("bin_image_id", was="split")
        kept = table.join(was, on="bin_image_id", how="left", maintain_order="left")
        kept = kept.with_columns(split=pl.coalesce("was", "split")).select(table.columns)
        kept = pl.concat([kept, stays.photos.join(kept, on="bin_image_id", how="anti").select(kept.columns)])
    buffer = io.BytesIO()
    drawn = kept.filter(pl.col("split").is_not_null()).with_columns(pl.lit(how).alias(_HOW))
    drawn.write_parquet(buffer, compression="zstd")
    write_bytes(data / DRAWN, buffer.getvalue())


def _of_older_version(data: Path) -> Before | None:
    """What a version left that remembered no draw, where its table is still there."""
    try:
        told = msgspec.json.decode((data / _REPORT).read_bytes(), type=dict[str, Any])
        how = how_drawn(told["how"], told["fractions"], told["seed"])
        table = Manifest.read(data, SPLIT).table.filter(pl.col("split").is_not_null())
    except (OSError, msgspec.DecodeError, ManifestError, LookupError, AttributeError):
        return None
    return Before(table.with_columns(group=pl.lit(None, pl.String)), how)
