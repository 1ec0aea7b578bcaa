"""check: looks at every photo and record and says which can't be used, and why. It moves and deletes nothing."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import polars as pl
from pydantic import Field

from bintally import artifacts
from bintally.config import Config
from bintally.data.duplicates import exact_duplicates, near_links
from bintally.data.inspection import Inspection, Job, Limits
from bintally.data.inspectors import inspect_all
from bintally.data.reasons import code, tally
from bintally.errors import DataError
from bintally.manifest import CHECKED, FETCHED, SCHEMA, Manifest
from bintally.progress import SILENT, Progress
from bintally.records import to_plain
from bintally.settings import cpu_count

REPORT: Final = "check.json"
_EXAMPLES: Final = 5

_MEASURES: Final = ("width_px", "height_px", "brightness", "sharpness", "dhash")


class CheckSettings(Config):
    """What is still taken for a good photo. Defaults were judged on 13,822 real bin photos (docs/results.md)."""

    dark_below: float = Field(
        default=40.0, ge=0, le=255, description="Mean luma (0-255) under which a photo is called dark."
    )
    blurred_below: float = Field(
        default=6.0, ge=0, description="Variance of the Laplacian under which it is called blurred."
    )
    near_duplicate_bits: int = Field(
        default=3, ge=0, le=6, description="Bits of 64 in which near duplicates' hashes may differ."
    )
    min_side_px: int = Field(default=64, ge=1, description="A shorter side is no photo of a bin.")
    max_side_px: int = Field(default=8000, ge=64, description="A longer side is no photo of a bin.")
    max_aspect: float = Field(default=5.0, ge=1, description="More times as long as wide is no photo of a bin.")
    max_megabytes: float = Field(default=100.0, gt=0, description="A larger file is not even opened.")


class CheckConfig(CheckSettings):
    """One run of check."""

    data: Path = Field(description="Folder with a manifest, made by fetch.")
    workers: int = Field(ge=1, le=1024, description="Processes that look at photos.")


class CheckReport(msgspec.Struct, frozen=True):
    """What check found: numbers of photos, and for each code its number and the first few ids."""

    photos: int
    usable: int
    quarantined: int
    warned: int
    without_record: int
    reasons: dict[str, int]
    warnings: dict[str, int]
    examples: dict[str, list[str]]
    seconds: float
    table: str


def check(
    *,
    data: Path,
    workers: int | None = None,
    settings: CheckSettings | None = None,
    progress: Progress = SILENT,
) -> CheckReport:
    """Measures and judges every photo of `data`, and writes `checked.parquet` and `check.json` there.

    Raises:
        ManifestError: there is no manifest, or it was edited against its schema.
        DataError: it has no photo, or none that can be used (then the reasons are written all the same).
    """
    paths = {"data": data, "workers": cpu_count() if workers is None else workers}
    return _check(CheckConfig.of({**(settings or CheckSettings()).model_dump(), **paths}), progress)


def _check(config: CheckConfig, progress: Progress) -> CheckReport:
    start = time.perf_counter()
    manifest = Manifest.read(config.data, FETCHED)
    if not len(manifest):
        raise DataError(f"{manifest.path} lists no photo.", hint="Fetch some: `bintally fetch SOURCE --out FOLDER`.")
    table = manifest.table
    with progress.task("check", total=len(manifest), unit="photos") as task:
        inspections = inspect_all(_jobs(table, config.data), limits=_limits(config), workers=config.workers, task=task)
    _set_copies_aside(table, inspections)
    _warn_of_likeness(table, inspections, config.near_duplicate_bits)
    checked = manifest.with_table(_with_findings(table, inspections))
    path = checked.write(CHECKED)
    report = _report(checked, path, time.perf_counter() - start)
    artifacts.write_json(config.data / REPORT, {**to_plain(report), "settings": config.model_dump(mode="json")})
    if not report.usable:
        raise _nothing_left(report, config.data)
    return report


def _limits(config: CheckConfig) -> Limits:
    return Limits(
        dark_below=config.dark_below,
        blurred_below=config.blurred_below,
        min_side_px=config.min_side_px,
        max_side_px=config.max_side_px,
        max_aspect=config.max_aspect,
        max_bytes=int(config.max_megabytes * 1e6),
    )


def _jobs(table: pl.DataFrame, data: Path) -> list[Job]:
    rows = table.select("path", "metadata_path", "sha256", "recorded_count", "count_source").iter_rows()
    root = data.resolve()
    return [
        Job(str(root / photo), str(root / metadata) if metadata else None, sha256, count, source)
        for photo, metadata, sha256, count, source in rows
    ]


def _sound(inspections: Sequence[Inspection]) -> list[int]:
    return [index for index, found in enumerate(inspections) if not found.quarantine]


def _set_copies_aside(table: pl.DataFrame, inspections: list[Inspection]) -> None:
    """Exact copies among the photos that are sound so far: a broken one never takes a good one's place."""
    ids, counts, sound = table["bin_image_id"], table["recorded_count"], _sound(inspections)
    copies = exact_duplicates([str(inspections[index].sha256) for index in sound], [counts[index] for index in sound])
    for index, (other, contradicts) in copies.items():
        name = "contradicting_duplicate" if contradicts else "duplicate"
        inspections[sound[index]].quarantine.append(f"{name}:{ids[sound[other]]}")


def _warn_of_likeness(table: pl.DataFrame, inspections: list[Inspection], bits: int) -> None:
    ids, products, sound = table["bin_image_id"], table["product_ids"], _sound(inspections)
    hashes = np.array([inspections[index].dhash for index in sound], dtype=np.uint64)
    for here, there in enumerate(near_links(hashes, bits).tolist()):
        if there < 0:
            continue
        index, other = sound[here], sound[there]
        inspections[index].warnings.append(f"near_duplicate:{ids[other]}")
        mine, its = products[index], products[other]
        if mine is not None and its is not None and len(mine) and len(its) and set(mine).isdisjoint(its):
            inspections[index].warnings.append(f"near_duplicate_other_products:{ids[other]}")


def _with_findings(table: pl.DataFrame, inspections: list[Inspection]) -> pl.DataFrame:
    return table.with_columns(
        pl.Series(name, [getattr(found, name) for found in inspections], dtype=SCHEMA[name])
        for name in (*_MEASURES, "quarantine", "warnings")
    )


def _report(checked: Manifest, path: Path, seconds: float) -> CheckReport:
    table = checked.table
    return CheckReport(
        photos=table.height,
        usable=checked.usable().height,
        quarantined=table.filter(pl.col("quarantine").list.len() > 0).height,
        warned=table.filter((pl.col("warnings").list.len() > 0) & (pl.col("quarantine").list.len() == 0)).height,
        without_record=int(table["metadata_path"].null_count()),
        reasons=tally(table["quarantine"]),
        warnings=tally(table["warnings"]),
        examples=_examples(table),
        seconds=round(seconds, 2),
        table=str(path),
    )


def _examples(table: pl.DataFrame) -> dict[str, list[str]]:
    examples: dict[str, list[str]] = {}
    odd = table.filter((pl.col("quarantine").list.len() > 0) | (pl.col("warnings").list.len() > 0))
    for name, quarantine, warnings in odd.select("bin_image_id", "quarantine", "warnings").iter_rows():
        for found in {code(finding) for finding in (*quarantine, *warnings)}:
            shown = examples.setdefault(found, [])
            if len(shown) < _EXAMPLES:
                shown.append(name)
    return examples


def _nothing_left(report: CheckReport, data: Path) -> DataError:
    found = ", ".join(f"{name} ({count})" for name, count in report.reasons.items())
    return DataError(
        f"None of the {report.photos:,} photo(s) in {data} can be used: {found}.",
        hint=f"{data / REPORT} names them; mend the source and fetch again into a new folder.",
    )
