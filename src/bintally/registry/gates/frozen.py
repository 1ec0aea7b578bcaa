"""The frozen photos that versions are judged on, and what each version said of them: counted once, and kept.

```
PLACE/predictions/BUNDLE-PHOTOS.parquet    a bundle's answers to photos, as `evaluate` writes them, and what is known
                                           of each photo, so that versions can be compared where no photos are
```

BUNDLE is the bundle's digest; PHOTOS is that of the photos, their counts and bins, and of the code that counts: so that
a champion is not counted again each night, unless the answers could be others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version as installed
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from bintally.artifacts import code_fingerprint, fingerprint
from bintally.bundle import Bundle
from bintally.counting.batch import estimates
from bintally.counting.counter import Counter
from bintally.counting.predictions import Predictions, answers_table, read_predictions, write_predictions
from bintally.errors import DataError
from bintally.manifest import SPLIT, Manifest
from bintally.progress import SILENT, Progress
from bintally.records import key_of
from bintally.registry.place import PREDICTIONS

if TYPE_CHECKING:
    from bintally.registry.place import Registry
    from bintally.registry.versions import Version

_DECIDES: Final = ("counting/counter.py", "counting/decode.py", "counting/frames.py",
                   "counting/network.py", "counting/sets.py", "photos.py")  # fmt: skip
_ONE_OF: Final = ("sha256", "dhash")
"""Columns by which a photo is known again: the same bytes, or (encoded anew) the same look."""

_KNOWN: Final = (*_ONE_OF, "split", "encoding", "brightness", "sharpness", "metadata_path", "product_ids",
                 "width_px", "height_px")  # fmt: skip
"""Columns of the manifest that are kept beside answers: what slices are cut by, too."""

_PHOTO: Final = ("bin_image_id", "group", "recorded_count", *_KNOWN)


@dataclass(frozen=True)
class Frozen:
    """A split's photos that have a count and were not set aside, in the order of their ids; `all_photos` of all splits.

    A photo without a group is a bin of its own.
    """

    folder: Path
    split: str
    table: pl.DataFrame
    all_photos: pl.DataFrame

    def without(self, learnt: Sequence[pl.DataFrame]) -> "Frozen":
        """Without the photos of bins of which `learnt` (columns sha256 and dhash) has a photo."""
        known = pl.lit(value=False)
        for name, photos in product(_ONE_OF, learnt):
            known |= pl.col(name).is_in(photos[name].drop_nulls().implode()).fill_null(value=False)
        bins = self.all_photos.filter(known)["group"].unique()
        return replace(self, table=self.table.filter(~pl.col("group").is_in(bins.implode())))

    def fingerprint(self) -> str:
        """SHA-256 of the photos' bytes, counts and bins."""
        rows = self.table.select("bin_image_id", "sha256", "recorded_count", "group").rows()
        return fingerprint([self.split, *map(list, rows)])


@dataclass(frozen=True)
class Answers:
    """What a version said: the whole table, and the photos that could be read."""

    table: pl.DataFrame
    told: Predictions

    def of(self, frozen: Frozen) -> "Answers":
        """Of those photos alone."""
        ids = frozen.table["bin_image_id"]
        chosen = np.flatnonzero(np.isin(self.told.ids_n, ids.to_numpy()))
        return Answers(self.table.filter(pl.col("bin_image_id").is_in(ids.implode())), self.told.of(chosen))

    @property
    def are_numbers(self) -> bool:
        """Whether each answer is a distribution."""
        sums_n = self.told.probabilities_nk.sum(axis=1)
        return bool(np.isfinite(sums_n).all() and (np.abs(sums_n - 1) < 1e-3).all())


def frozen_photos(data: Path, split: str) -> Frozen:
    """The photos of a data folder's split.

    Raises:
        ManifestError: it has no split.
        DataError: the split has no photo with a count.
    """
    manifest = Manifest.read(data, SPLIT)
    own_bin = pl.coalesce("group", pl.lit("photo ") + pl.col("bin_image_id")).alias("group")
    table = manifest.usable(split).sort("bin_image_id").with_columns(own_bin)
    if not table.height:
        raise DataError(
            f"{manifest.path} has no photo with a count in {split!r}.", hint="Choose another split in [promote]."
        )
    return Frozen(data, split, table, manifest.table.with_columns(own_bin))


def answers_of(registry: "Registry", version: "Version", frozen: Frozen, *, progress: Progress = SILENT) -> Answers:
    """What a version says of photos: as it is kept, else counted now and kept.

    Raises:
        BundleError: the version's bundle can't be used.
        DataError: none of the photos can be read, or the version knows none of their counts.
        StorageError: the answers can't be written.
    """
    bundle = Bundle.open(registry.bundle_of(version.bundle_sha256))
    asked = _asked(frozen, bundle.card.count_keys)
    photos = fingerprint([frozen.fingerprint(), _code()])
    place = registry.place / PREDICTIONS / f"{version.bundle_sha256}-{photos}.parquet"
    kept = _kept(place, asked)
    if kept is not None:
        return kept
    counted = _counted(Counter(bundle.folder), frozen, asked, progress)
    table = pl.concat([counted, asked.select(_KNOWN)], how="horizontal")
    if table["error"].is_not_null().all():
        raise DataError(
            f"None of the {table.height} photos could be read; the first: {table['error'][0]}",
            hint="Look at the folder with `bintally check`.",
        )
    write_predictions(place, table)
    return Answers(table, read_predictions(place))


def kept_answers(
    registry: "Registry", versions: "Sequence[Version]", split: str
) -> tuple[Frozen, list[Answers]] | None:
    """What all of `versions` said of the same photos of a `split`, those that were asked about last; and the photos.

    None: they were never asked about the same ones. Of bins, only the photos of that split are known.
    """
    folder = registry.place / PREDICTIONS
    asked = [{path.name[65:]: path for path in folder.glob(f"{each.bundle_sha256}-*.parquet")} for each in versions]
    together = [[of_one[photos] for of_one in asked] for photos in set.intersection(*map(set, asked))]
    for paths in sorted(together, key=lambda paths: max(path.stat().st_mtime for path in paths), reverse=True):
        found = [_read(path) for path in paths]
        answers = [each for each in found if each is not None and each.table["split"].eq(split).all()]
        if len(answers) == len(versions):
            photos = pl.concat([each.table.select(_PHOTO) for each in answers])
            table = photos.unique("bin_image_id").sort("bin_image_id")
            return Frozen(folder, split, table, table), answers
    return None


def _asked(frozen: Frozen, keys: tuple[str, ...]) -> pl.DataFrame:
    """The photos whose counts a model knows, with a column `key`."""
    told = pl.Series("key", [key_of(count, keys) for count in frozen.table["recorded_count"]], dtype=pl.String)
    asked = frozen.table.with_columns(told).filter(pl.col("key").is_in(list(keys)))
    if not asked.height:
        raise DataError(
            f"None of the photos of {frozen.split!r} has a count of {', '.join(keys)}.", hint="Choose another split."
        )
    return asked


def _kept(place: Path, asked: pl.DataFrame) -> Answers | None:
    """What is kept, if it is whole and of those photos."""
    kept = _read(place)
    return kept if kept is not None and kept.table["bin_image_id"].equals(asked["bin_image_id"]) else None


def _read(place: Path) -> Answers | None:
    """What is kept, if it is whole."""
    if not place.is_file():
        return None
    try:
        told, table = read_predictions(place), pl.read_parquet(place)
    except (DataError, OSError, pl.exceptions.PolarsError):
        return None
    return Answers(table, told) if {"abstain", *_KNOWN} <= set(table.columns) else None


def _counted(counter: Counter, frozen: Frozen, asked: pl.DataFrame, progress: Progress) -> pl.DataFrame:
    answers = []
    with progress.task(f"judge {counter.card.name}", total=asked.height, unit="photos") as task:
        for answer in estimates(counter, [str(frozen.folder / path) for path in asked["path"]]):
            answers.append(answer)
            task.advance()
    return answers_table(asked, answers, keys=counter.keys)


@cache
def _code() -> str:
    return fingerprint([code_fingerprint(_DECIDES), installed("onnxruntime")])
