"""Splits a data folder's photos into train, val and test, bins whole, with the same mix of counts in each.

Reads DATA/checked.parquet (or manifest.parquet), writes DATA/split.parquet and the report DATA/split.json, whose
leakage proof says what crosses between the splits. Photos that can't be used (no count, in quarantine) get no split.
In a folder that grew, photos stay where they were (`staying`), and only new bins are drawn.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec
import numpy as np
import polars as pl
from pydantic import AfterValidator, Field

from bintally.artifacts import sha256_of, write_json
from bintally.config import Config
from bintally.data.dividing import How, divided
from bintally.data.leakage import LeakageProof, prove
from bintally.data.staying import Before, Since, how_drawn, read_before, write_drawn
from bintally.errors import DataError, ManifestError
from bintally.manifest import CHECKED, FETCHED, SPLIT, SPLITS, Manifest, count_key
from bintally.progress import SILENT, Progress
from bintally.records import COUNT_KEYS, parse_counts, to_plain

REPORT: Final = "split.json"

NEARLY_ALL: Final = 0.99
"""From this share of photos with a given split on, `auto` takes the given one."""

Sizes = dict[str, dict[str, int]]  # photos per split and count key


def parse_fractions(text: str) -> dict[str, float]:
    """`"70/20/10"` as shares of train, val and test; two parts are train and val (test stays empty). Any numbers do.

    Raises:
        ValueError: not two or three numbers, one is negative, or train gets nothing.
    """
    try:
        parts = [float(part) for part in text.split("/")]
    except ValueError:
        parts = []
    if len(parts) not in (2, 3) or not np.isfinite(parts).all() or min(parts) < 0 or parts[0] == 0:
        raise ValueError(f"{text!r} is not like 70/20/10 (train/val/test) or 80/20 (train/val, no test)")
    return {split: part / sum(parts) for split, part in zip(SPLITS, parts, strict=False) if part}


def _fractions(text: str) -> str:
    parse_fractions(text)
    return text


def _counts(text: str | None) -> str | None:
    if text is not None:
        parse_counts(text)
    return text


class SplitSettings(Config):
    """How photos are divided."""

    how: How = Field(
        default="grouped",
        description="grouped: photos of one bin over time stay together; given: the split that came with the source; "
        "auto: given where (nearly) every photo has one, else grouped; random_that_leaks: photo by photo, to show what "
        "that does.",
    )
    fractions: Annotated[str, AfterValidator(_fractions)] = Field(
        default="70/20/10",
        description="Train/val/test in any numbers, e.g. 80/10/10; two parts, e.g. 80/20, are train/val, without test.",
    )
    seed: int = Field(default=0, ge=0, description="The same seed and photos give the same split.")
    counts: Annotated[str | None, AfterValidator(_counts)] = Field(
        default=None,
        description='Counts that train must have photos of, e.g. "1-5". Photos of others are split all the same.',
    )


class SplitConfig(SplitSettings):
    """Settings of `split`, with its folder."""

    data: Path = Field(description="The data folder.")
    fresh: bool = Field(default=False, description="Draw anew, though photos were split here before.")


class SplitReport(msgspec.Struct, frozen=True):
    """What was divided, how, and what crosses. `sizes` has photos per split and count key.

    `since`: what became of photos that were split here before.
    """

    path: str
    fingerprint: str  # SHA-256 of split.parquet: says which table these numbers speak of
    how: str
    seed: int
    fractions: dict[str, float]  # as asked for; empty for a given split
    photos: int
    left_out: int
    groups: int
    sizes: Sizes
    leakage: LeakageProof
    since: Since = Since()
    warnings: tuple[str, ...] = ()


def split(
    *,
    data: Path,
    how: How = "grouped",
    fractions: str = "70/20/10",
    seed: int = 0,
    counts: str | None = None,
    fresh: bool = False,
    progress: Progress = SILENT,
) -> SplitReport:
    """Divides the photos of a data folder and proves what leaks between the parts (nothing, unless asked for).

    Photos that were split here before in the same way stay where they were; `fresh` draws all of them anew.

    Raises:
        ConfigError: a setting makes no sense.
        ManifestError: the folder has no readable table of photos.
        DataError: too few photos or bins, no given split though asked for, or no photo of a wanted count in train.
    """
    settings = {"how": how, "fractions": fractions, "seed": seed, "counts": counts, "fresh": fresh}
    return _split(SplitConfig.of({"data": data, **settings}), progress)


def _split(config: SplitConfig, progress: Progress) -> SplitReport:
    manifest = Manifest.read(config.data, CHECKED, FETCHED)
    usable = manifest.usable()
    _enough(manifest, usable.height)
    how = _decided(config.how, usable, manifest)
    shares = {} if how == "given" else parse_fractions(config.fractions)
    drawn, last = how_drawn(how, shares, config.seed), _last(config)
    stays = last if last and how == "grouped" and last.how == drawn and not config.fresh else None
    with progress.task("split", total=manifest.table.height, unit="photos") as task:
        task.note("grouping")
        table = divided(manifest, how, shares, seed=config.seed, stays=stays)
        task.note("proving")
        proof, sizes = prove(table), _sizes(table)
        _train_has(sizes, config.counts)
        write_drawn(config.data, stays, table.with_columns(manifest.table["group"]), drawn)
        finished = manifest.with_table(table)
        path = finished.write(SPLIT)
        task.advance(manifest.table.height)
    since = Since() if last is None else last.since(finished.usable())
    without = finished.usable()["split"].null_count() - since.set_apart
    warnings = [*_warnings(shares or SPLITS, sizes, proof, without=without), *_changes(last, stays, since)]
    report = SplitReport(
        path=str(path),
        fingerprint=sha256_of(path),
        how=how,
        seed=config.seed,
        fractions=shares,
        photos=sum(sum(of_split.values()) for of_split in sizes.values()),
        left_out=table["split"].null_count(),
        groups=table.filter(pl.col("split").is_not_null())["group"].n_unique(),
        sizes=sizes,
        leakage=proof,
        since=since,
        warnings=tuple(warnings),
    )
    write_json(config.data / REPORT, to_plain(report))
    return report


def _last(config: SplitConfig) -> Before | None:
    """What was drawn here before; to a fresh draw it does not matter whether that can be read."""
    try:
        return read_before(config.data)
    except ManifestError:
        if config.fresh:
            return None
        raise


def _enough(manifest: Manifest, photos: int) -> None:
    """Says why there is nothing to split, when there isn't."""
    if photos > 1:
        return
    if photos == 1:
        raise DataError(
            f"{manifest.path} has 1 photo that can be used; a split needs at least one for train and one for val.",
            hint="Fetch more photos: `bintally fetch SOURCE --out FOLDER`.",
        )
    set_aside = manifest.table.filter(pl.col("quarantine").list.len() > 0).height
    if set_aside:
        others = "" if set_aside == len(manifest) else ", the others have no count"
        raise DataError(
            f"No photo of {manifest.path} can be used: {set_aside} of {len(manifest)} are in quarantine{others}.",
            hint="`bintally check FOLDER` says why.",
        )
    raise DataError(
        f"No photo of {manifest.path} can be used: "
        + (f"none of {len(manifest)} has a count." if manifest else "it is empty."),
        hint="Fetch photos, or a list of their counts: `bintally fetch SOURCE --list counts.csv --out FOLDER`.",
    )


def _decided(how: How, usable: pl.DataFrame, manifest: Manifest) -> How:
    told = 1 - usable["split"].null_count() / usable.height
    if how == "auto":
        return "given" if told >= NEARLY_ALL else "grouped"
    if how == "given" and not told:
        raise DataError(
            f"{manifest.path} has no given split.",
            hint="Take --how grouped, or fetch again with a labels.csv that has the columns id and split.",
        )
    return how


def _sizes(table: pl.DataFrame) -> Sizes:
    counted = table.with_columns(key=count_key(pl.col("recorded_count"))).group_by("split", "key").len()
    found = {(name, key): photos for name, key, photos in counted.iter_rows()}
    return {name: {key: found.get((name, key), 0) for key in COUNT_KEYS} for name in SPLITS}


def _train_has(sizes: Sizes, counts: str | None) -> None:
    bare = [key for key in parse_counts(counts) if not sizes["train"][key]] if counts else []
    if not bare:
        return
    elsewhere = sum(sizes[name][key] for name in SPLITS for key in bare)
    raise DataError(
        f"There is no photo of count {', '.join(bare)} in train ({elsewhere} in the other splits).",
        hint="Ask for other --counts, a larger share for train, or --how grouped."
        if elsewhere
        else "Fetch photos of it, or ask for other --counts.",
    )


def _warnings(wanted: Iterable[str], sizes: Sizes, proof: LeakageProof, *, without: int) -> Iterator[str]:
    """What a person should know; `wanted` splits should have photos, `without` one are so many."""
    if proof.leaks:
        yield f"THIS SPLIT LEAKS: {proof.sentence()}. Figures on val and test will look better than they are."
    if proof.near_duplicates is None:
        yield "Near duplicates were not looked for: run `bintally check FOLDER` first."
    elif proof.near_duplicates.crossing:
        yield f"{proof.near_duplicates.crossing} pairs of photos in different splits look nearly the same."
    if proof.unknown_neighbours.crossing:
        yield (
            f"{proof.unknown_neighbours.crossing} pairs of neighbouring ids in different splits may show the same bin: "
            "one of the two has no record, or an empty one."
        )
    for name in wanted:
        if not any(sizes[name].values()):
            yield f"{name} is empty."
    bare = [key for key in COUNT_KEYS if not sizes["train"][key] and any(sizes[name][key] for name in SPLITS)]
    if bare:
        yield f"train has no photo of count {', '.join(bare)}, though another split has."
    if without:
        yield f"{without} photos came without a split and are in none."


def _changes(last: Before | None, stays: Before | None, since: Since) -> Iterator[str]:
    """What a person should know of photos that were split before."""
    if last is not None and stays is None and since.moved:
        yield (
            f"Drawn anew (before: {last.how}): {since.moved} photos that were in val or test are in train now. "
            "Don't compare models trained before with later ones on this split."
        )
    if stays is not None and since.set_apart:
        yield (
            f"{since.set_apart} photos are left out: new photos show that their bins are the same as bins of a split "
            "further from training."
        )
