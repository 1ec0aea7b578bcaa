"""What was seen of bins, from a file of counts: of each bin its latest photo.

What `bintally count` writes (`.jsonl`, `.csv`), a Parquet file with the same columns, or a plain table `bin, count`.
The bin stands in a column `bin`, in a table of photos (`photo, bin[, taken_at]`), or is the `bin_image_id`.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from bintally.errors import DataError, UsageError
from bintally.inventory.bulk.rules import moments, whole
from bintally.inventory.reconcile.rejected import Rejections
from bintally.inventory.reconcile.tables import read_table

Shares = NDArray[np.float32]

PREFIX: Final = "p_"
COLUMNS: Final = (
    "path", "bin_image_id", "bin", "taken_at", "count", "abstain", "error", "model", "previous", "previous_count",
)  # fmt: skip

_AT_ONCE: Final = 1 << 24  # bytes
_SUM_OFF: Final = 0.02  # four digits each are written


@dataclass(frozen=True)
class Seen:
    """Photos or counts, the latest of each bin: `COLUMNS` and their `line`.

    `shares_nk` [N, K] has a row a line (of zeros where there are no probabilities); K may be 0.
    """

    table: pl.DataFrame
    keys: tuple[str, ...]
    shares_nk: Shares
    photos: int  # lines that could be used
    untimed: int  # bins with several photos of which one has no time: the last line stands

    @property
    def models(self) -> list[str]:
        """The models that counted."""
        return sorted(self.table["model"].drop_nulls().unique().to_list())


def read_seen(path: Path, bins: Path | None, rejections: Rejections, *, only: frozenset[str] | None = None) -> Seen:
    """The counts of a file, or `only` those of some photos.

    Raises:
        UsageError: a file can't be read.
        DataError: it lacks a column, or has no line that can be used.
    """
    table, keys, shares_nk = _read(path, rejections)
    table = table.with_columns(row=pl.int_range(pl.len(), dtype=pl.UInt32))
    if only is not None:
        table = table.filter(pl.col("path").is_in(list(only)))
    table = _with_bins(str(path), table, bins, rejections)
    table = _usable(str(path), table, shares_nk, rejections)
    if not table.height:
        why = next((f"Line {line.line}: {line.why}." for line in rejections.first(1)), "It is empty.")
        raise DataError(f"{path} has no line that can be used.", hint=why)
    latest, untimed = _latest(table)
    shares_nk = shares_nk[latest["row"].to_numpy()]
    shares_nk /= np.maximum(shares_nk.sum(axis=1, keepdims=True), 1e-9)
    return Seen(latest.drop("row"), keys, shares_nk, table.height, untimed)


def _read(path: Path, rejections: Rejections) -> tuple[pl.DataFrame, tuple[str, ...], Shares]:
    if path.suffix.lower() in {".jsonl", ".ndjson"}:
        return _json_lines(path, rejections)
    table = read_table(path, (), COLUMNS, rejections, prefix=PREFIX)
    names = [name for name in table.columns if name.startswith(PREFIX)]
    keys = _ordered(name.removeprefix(PREFIX) for name in names)
    shares = table.select(pl.col(f"{PREFIX}{key}").cast(pl.Float32, strict=False).fill_null(0.0) for key in keys)
    shares_nk = shares.to_numpy() if keys else np.zeros((table.height, 0), np.float32)
    if "count" not in table.columns and not keys:
        raise DataError(f"{path} tells no counts.", hint="It needs a column count, or what `bintally count` writes.")
    table = table.drop(names)
    lacking = [pl.lit(None, pl.String).alias(name) for name in COLUMNS if name not in table.columns]
    return _typed(str(path), table.with_columns(lacking), rejections), keys, np.array(shares_nk, np.float32)


def _typed(name: str, table: pl.DataFrame, rejections: Rejections) -> pl.DataFrame:
    """A table of text with its numbers; `row`s of broken ones keep a null bin and are left out later."""
    table = table.with_columns(count_=whole("count"), previous_=whole("previous_count"))
    broken = pl.col("count").is_not_null() & pl.col("count_").is_null()
    rejections.add(name, table.filter(broken), "count", "no whole number of items")
    return table.with_columns(is_broken=broken, count="count_", previous_count="previous_").drop("count_", "previous_")


class _Line(msgspec.Struct, frozen=True, gc=False):
    path: str | None = None
    bin_image_id: str | None = None
    bin: str | None = None
    taken_at: str | None = None
    count: int | None = None
    abstain: str | None = None
    error: str | None = None
    model: str | None = None
    previous: str | None = None
    previous_count: int | None = None
    probabilities: dict[str, float] = {}


_TYPES: Final = {name: pl.Int64 if "count" in name else pl.String for name in COLUMNS}


def _json_lines(path: Path, rejections: Rejections) -> tuple[pl.DataFrame, tuple[str, ...], Shares]:
    tables, shares = [], list[Shares]()
    keys: tuple[str, ...] | None = None
    for lines in _decoded(path, rejections):
        if keys is None:
            keys = next((_ordered(line.probabilities) for _, line in lines if line.probabilities), None)
        tables.append(
            pl.DataFrame(
                {name: [getattr(line, name) for _, line in lines] for name in COLUMNS},
                schema=_TYPES,
            ).with_columns(line=pl.Series([number for number, _ in lines], dtype=pl.Int64))
        )
        shares.append(_shares([line.probabilities for _, line in lines], keys or ()))
    table = pl.concat(tables) if tables else pl.DataFrame(schema={**_TYPES, "line": pl.Int64})
    many = len(keys or ())
    shares_nk = np.concatenate([_wide(part, many) for part in shares]) if shares else np.zeros((0, many), np.float32)
    other = pl.Series(np.isnan(shares_nk).any(axis=1) if many else np.zeros(table.height, bool))
    counts = " ".join(keys or ())
    rejections.add(str(path), table.filter(other), "probabilities", f"they are not of the counts {counts}")
    return table.with_columns(is_broken=other), keys or (), shares_nk


def _decoded(path: Path, rejections: Rejections) -> Iterator[list[tuple[int, _Line]]]:
    decoder, number = msgspec.json.Decoder(_Line), 1
    try:
        with path.open("rb") as file:
            while block := file.readlines(_AT_ONCE):
                try:
                    lines = [(number + index, decoder.decode(line)) for index, line in enumerate(block)]
                except msgspec.DecodeError:
                    lines = list(_one_by_one(str(path), decoder, block, number, rejections))
                yield lines
                number += len(block)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}.", hint="Look at the path.") from error


def _one_by_one(
    name: str, decoder: "msgspec.json.Decoder[_Line]", block: Sequence[bytes], number: int, rejections: Rejections
) -> Iterator[tuple[int, _Line]]:
    for index, line in enumerate(block):
        if not line.strip():
            continue
        try:
            yield number + index, decoder.decode(line)
        except msgspec.DecodeError as error:
            rejections.add_one(name, number + index, "", line.decode("utf-8", "replace").strip(), str(error))


def _shares(told: Sequence[dict[str, float]], keys: tuple[str, ...]) -> Shares:
    """[N, K]; rows of nan have other keys, rows of 0 none."""
    many = len(keys)
    of = itemgetter(*keys) if many > 1 else (lambda shares: (shares[keys[0]],)) if many else (lambda _: ())
    none, other = (0.0,) * many, (float("nan"),) * max(many, 0)
    rows = []
    for shares in told:
        if len(shares) == many:
            try:
                rows.append(of(shares))
                continue
            except KeyError:
                pass
        rows.append(other if shares else none)
    return np.fromiter(itertools.chain.from_iterable(rows), np.float32, len(rows) * many).reshape(len(rows), many)


def _wide(shares_nk: Shares, many: int) -> Shares:
    return shares_nk if shares_nk.shape[1] == many else np.zeros((len(shares_nk), many), np.float32)


def _ordered(keys: Any) -> tuple[str, ...]:
    """Count keys, ascending.

    Raises:
        DataError: one of them is no count.
    """
    keys = list(keys)
    try:
        return tuple(sorted(keys, key=lambda key: int(key.removesuffix("+"))))
    except ValueError:
        raise DataError(
            f"The probabilities are of {', '.join(keys)}, which are no counts.", hint='Counts look like "0" or "6+".'
        ) from None


def _with_bins(name: str, table: pl.DataFrame, bins: Path | None, rejections: Rejections) -> pl.DataFrame:
    """Whose bin each line is of: its own word, else the table of photos, else the photo's id."""
    if bins is None:
        return table.with_columns(
            bin=pl.coalesce("bin", "bin_image_id"), moment=moments(table["taken_at"]), is_mapped=pl.lit(value=True)
        )
    known = _photo_bins(bins, rejections)
    table = table.with_columns(photo=pl.col("path").str.split("/").list.last())
    for key in ("path", "photo"):
        of = known.rename({"photo": key, "bin": f"bin_of_{key}", "taken_at": f"time_of_{key}"})
        table = table.join(of, on=key, how="left", maintain_order="left")
    table = table.with_columns(
        bin=pl.coalesce("bin", "bin_of_path", "bin_of_photo"),
        taken_at=pl.coalesce("taken_at", "time_of_path", "time_of_photo"),
    )
    rejections.add(name, table.filter(pl.col("bin").is_null()), "path", f"{bins} names no bin of this photo")
    return table.with_columns(moment=moments(table["taken_at"]), is_mapped=pl.col("bin").is_not_null())


def _photo_bins(path: Path, rejections: Rejections) -> pl.DataFrame:
    """The table of photos, each once: photo (a path or a file's name), bin, taken_at."""
    found = read_table(path, ("photo", "bin"), ("taken_at",), rejections)
    if "taken_at" not in found.columns:
        found = found.with_columns(taken_at=pl.lit(None, pl.String))
    again = found.filter(~pl.col("photo").is_first_distinct())
    rejections.add(str(path), again, "photo", "a line before has this photo")
    return found.filter(pl.col("photo").is_first_distinct()).drop_nulls(["photo", "bin"]).drop("line")


def _usable(name: str, table: pl.DataFrame, shares_nk: Shares, rejections: Rejections) -> pl.DataFrame:
    total_n = shares_nk.sum(axis=1) if shares_nk.shape[1] else np.zeros(len(shares_nk), np.float32)
    odd_n = ~(np.abs(total_n - 1.0) <= _SUM_OFF) & (total_n != 0.0) | (shares_nk < 0.0).any(axis=1)
    table = table.filter(~pl.col("is_broken") & pl.col("is_mapped"))
    rows = table["row"].to_numpy()
    table = table.with_columns(odd=pl.Series(odd_n[rows]), told=pl.Series(total_n[rows] > 0))
    told = pl.col("told") | pl.col("count").is_not_null() | pl.col("error").is_not_null()
    faults = {
        "bin": (pl.col("bin").is_null(), "there is no bin"),
        "probabilities": (pl.col("odd"), "probabilities lie in 0..1 and sum to 1"),
        "count": (~told, "it tells no count"),
        "taken_at": (
            pl.col("taken_at").is_not_null() & pl.col("moment").is_null(),
            "no time like 2026-11-20T08:00:00Z",
        ),
    }
    for column, (is_wrong, why) in faults.items():
        rejections.add(name, table.filter(is_wrong), column, why)
        table = table.filter(~is_wrong)
    negative = table.filter(pl.col("count") < 0)
    rejections.add(name, negative, "count", "a bin can't hold less than nothing")
    return table.filter((pl.col("count") >= 0) | pl.col("count").is_null()).select(
        "row", "line", "bin", "path", pl.col("moment").alias("taken_at"), "count", "abstain", "error", "model",
        "previous", "previous_count",
    )  # fmt: skip


def _latest(table: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Of each bin the latest photo; where a time is missing, the last line."""
    if not table["bin"].is_duplicated().any():
        return table, 0
    several = table.filter(pl.col("bin").is_duplicated())
    untimed = several.filter(pl.col("taken_at").is_null())["bin"].unique()
    in_time = pl.when(~pl.col("bin").is_in(untimed.implode())).then(pl.col("taken_at"))
    last = several.with_columns(in_time=in_time).sort("in_time", "row").unique("bin", keep="last")
    kept = pl.concat([table.filter(~pl.col("bin").is_duplicated()), last.drop("in_time")])
    return kept.sort("row"), len(untimed)
