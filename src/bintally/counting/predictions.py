"""Predictions on photos with known counts, as `evaluate` and `train` leave them: one row a photo.

Shapes: N photos, K keys (counts asked about).
    probabilities_nk  float64 [N, K], rows sum to 1
    labels_n          int [N], index of the recorded count among the keys

```
bin_image_id, group, recorded_count, recorded_key    the photo, its bin, and what is recorded
count, expected_count, count_set, abstain, error     what was answered
p_0 ... p_6+                                         probability of each count asked about
```
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bintally.artifacts import write_bytes
from bintally.errors import DataError
from bintally.records import CountEstimate

PREDICTIONS: Final = "predictions.parquet"
_SHARE: Final = "p_"
_NEEDED: Final = ("bin_image_id", "group", "recorded_count", "recorded_key")


@dataclass(frozen=True)
class Predictions:
    """What one model said of N photos. Photos without a group are a bin of their own."""

    ids_n: NDArray[Any]
    groups_n: NDArray[Any]
    recorded_n: NDArray[np.int64]
    keys: tuple[str, ...]
    labels_n: NDArray[np.intp]
    probabilities_nk: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ids_n)

    def of(self, chosen: NDArray[np.intp]) -> "Predictions":
        """The photos at the indices `chosen`, in that order."""
        return Predictions(
            self.ids_n[chosen],
            self.groups_n[chosen],
            self.recorded_n[chosen],
            self.keys,
            self.labels_n[chosen],
            self.probabilities_nk[chosen],
        )

    def asked(self, keys: Sequence[str]) -> "Predictions":
        """As if only the counts `keys` had been asked about: other photos left out, distributions renormalised."""
        if tuple(keys) == self.keys:
            return self
        columns = np.array([self.keys.index(key) for key in keys], np.intp)
        kept = np.flatnonzero(np.isin(self.labels_n, columns))
        shares_nk = self.probabilities_nk[np.ix_(kept, columns)]
        sums_n = shares_nk.sum(axis=1, keepdims=True)
        told_nk = np.divide(shares_nk, sums_n, out=np.full_like(shares_nk, 1 / len(columns)), where=sums_n > 0)
        of_key = {column: place for place, column in enumerate(columns.tolist())}
        labels_n = np.array([of_key[label] for label in self.labels_n[kept]], np.intp)
        return Predictions(self.ids_n[kept], self.groups_n[kept], self.recorded_n[kept], tuple(keys), labels_n, told_nk)


def predictions_table(
    photos: pl.DataFrame, probabilities_nk: NDArray[np.float64], *, keys: Sequence[str], values_k: NDArray[np.float64]
) -> pl.DataFrame:
    """The table of a model that answers with probabilities alone: no sets of counts, no abstaining, no errors.

    `photos` has bin_image_id, group, recorded_count and recorded_key; `values_k` is what each key counts as.
    """
    counts_k = np.array([int(key.rstrip("+")) for key in keys], np.int32)
    return photos.select(_NEEDED).with_columns(
        pl.Series("count", counts_k[probabilities_nk.argmax(axis=1)], dtype=pl.Int32),
        pl.Series("expected_count", probabilities_nk @ values_k, dtype=pl.Float64),
        pl.lit(None, pl.List(pl.String)).alias("count_set"),
        pl.lit(None, pl.String).alias("abstain"),
        pl.lit(None, pl.String).alias("error"),
        *(pl.Series(f"{_SHARE}{key}", probabilities_nk[:, k], dtype=pl.Float64) for k, key in enumerate(keys)),
    )


def answers_table(photos: pl.DataFrame, answers: Sequence[CountEstimate], *, keys: Sequence[str]) -> pl.DataFrame:
    """The table of what the serving path answered; a photo that could not be read has its `error` and nulls.

    `photos` has bin_image_id, group, recorded_count and key.
    """
    return photos.select("bin_image_id", "group", "recorded_count", recorded_key="key").with_columns(
        pl.Series("count", [answer.count for answer in answers], dtype=pl.Int32),
        pl.Series("expected_count", [answer.expected_count for answer in answers], dtype=pl.Float64),
        pl.Series("count_set", [list(answer.count_set) for answer in answers], dtype=pl.List(pl.String)),
        pl.Series("abstain", [answer.abstain for answer in answers], dtype=pl.String),
        pl.Series("error", [answer.error for answer in answers], dtype=pl.String),
        *(
            pl.Series(f"{_SHARE}{key}", [answer.probabilities.get(key) for answer in answers], dtype=pl.Float64)
            for key in keys
        ),
    )


def write_predictions(target: Path, table: pl.DataFrame) -> None:
    """`table` as a Parquet file, atomically.

    Raises:
        StorageError: disk full, or no permission.
    """
    buffer = io.BytesIO()  # polars would turn a full disk into an error of its own
    table.write_parquet(buffer)
    write_bytes(target, buffer.getvalue())


def read_predictions(path: Path) -> Predictions:
    """What `path` holds; photos that could not be read are left out.

    Raises:
        DataError: no such file, or none that holds predictions.
    """
    if not path.is_file():
        raise DataError(
            f"There is no {path.name} in {path.parent}.",
            hint="A run of an earlier version has none: judge its bundle with `bintally evaluate BUNDLE --data FOLDER "
            "--split val --out OUT` and compare OUT.",
        )
    try:
        table = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} is no readable table: {error}.", hint="Evaluate or train again.") from error
    keys = tuple(name.removeprefix(_SHARE) for name in table.columns if name.startswith(_SHARE))
    missing = [name for name in _NEEDED if name not in table.columns] + ["p_..."] * (not keys)
    if missing:
        raise DataError(
            f"{path} lacks {', '.join(missing)}.", hint="Compare what `bintally evaluate` or `train` wrote."
        )
    table = table.filter(pl.all_horizontal(pl.col(f"{_SHARE}{key}").is_not_null() for key in keys))
    return Predictions(
        ids_n=table["bin_image_id"].to_numpy(),
        groups_n=table.select(pl.coalesce("group", pl.lit("photo ") + pl.col("bin_image_id"))).to_series().to_numpy(),
        recorded_n=table["recorded_count"].to_numpy().astype(np.int64),
        keys=keys,
        labels_n=np.array([keys.index(key) for key in table["recorded_key"]], np.intp),
        probabilities_nk=table.select(f"{_SHARE}{key}" for key in keys).to_numpy().astype(np.float64),
    )
