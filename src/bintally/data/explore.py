"""explore: one self-contained page that shows what is in a data folder, made to be looked at before training on it."""

import json
import random
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl
from pydantic import Field

from bintally import artifacts
from bintally.config import Config
from bintally.data import figures, survey
from bintally.data.check import REPORT, CheckSettings
from bintally.data.reasons import QUARANTINE, WARNINGS, code, detail, tally
from bintally.errors import BintallyError, ConfigError, DataError
from bintally.manifest import CHECKED, FETCHED, Manifest
from bintally.pages import BAD, GOOD, MUTED, data_uri, render
from bintally.photos import open_image, read_photo
from bintally.progress import SILENT, Progress
from bintally.records import COUNT_KEYS, TOP_KEY

PAGE: Final = "explore.html"
_THUMB_PX: Final = 250
_SHORTEST_STRIP: Final = 3
_LONGEST_STRIP: Final = 6  # photos of a bin shown in a row: the page is six photos wide


class ExploreSettings(Config):
    """What the page shows."""

    seed: int = Field(default=0, ge=0, description="Draws the photos shown, and the records read where there are many.")
    photos_per_count: int = Field(default=8, ge=1, le=40, description="Random photos of each count.")
    bins_shown: int = Field(default=6, ge=0, le=20, description="Bins shown over time, each with its photos in a row.")
    examples: int = Field(default=6, ge=1, le=20, description="Photos shown of each thing that check found.")
    records_read: int = Field(default=20_000, ge=1, description="Records read for products, at most.")


class ExploreConfig(ExploreSettings):
    """One run of explore."""

    data: Path = Field(description="Folder with a manifest.")
    out: Path | None = Field(default=None, description="The page; DATA/explore.html if left out.")


class ExploreReport(msgspec.Struct, frozen=True):
    """The page's headline figures, and where it is."""

    photos: int
    usable: int
    counts: dict[str, int]
    imbalance: float | None  # most frequent count : rarest count that occurs
    bins: int
    products: int
    page: str
    page_bytes: int
    seconds: float


def explore(
    *,
    data: Path,
    out: Path | None = None,
    seed: int | None = None,
    settings: ExploreSettings | None = None,
    progress: Progress = SILENT,
) -> ExploreReport:
    """Draws the page of `data` and writes it to `out`; a `seed` given here goes before the one in `settings`.

    Raises:
        ManifestError: there is no manifest, or it was edited against its schema.
        DataError: it has no photo.
    """
    known = (settings or ExploreSettings()).model_dump()
    chosen = {} if seed is None else {"seed": seed}
    return _explore(ExploreConfig.of({**known, **chosen, "data": data, "out": out}), progress)


def _explore(config: ExploreConfig, progress: Progress) -> ExploreReport:
    start = time.perf_counter()
    manifest = Manifest.read(config.data, CHECKED, FETCHED)
    if not len(manifest):
        raise DataError(f"{manifest.path} lists no photo.", hint="Fetch some: `bintally fetch SOURCE --out FOLDER`.")
    manifest = manifest.with_table(survey.with_bins(manifest))
    usable = manifest.usable()
    records = min(usable["metadata_path"].len() - usable["metadata_path"].null_count(), config.records_read)
    with progress.task("explore", total=records, unit="records") as task:
        shelf = survey.shelf(config.data, usable, most=config.records_read, seed=config.seed, task=task)
        task.note("drawing")
        counts, visits = survey.counts_by_key(usable), survey.visits(usable)
        page = render(
            "explore.html",
            name=config.data.resolve().name,
            headline=_headline(manifest, usable, visits, shelf),
            counts=_counts(usable, counts),
            gallery=_gallery(usable, config),
            quality=_quality(manifest.table, config.data),
            products=_products(shelf),
            time=_over_time(usable, visits, config),
            found=_found(manifest.table, config),
            source=manifest.name,
            seed=config.seed,
        )
    out = config.out or config.data / PAGE
    artifacts.write_text(out, page)
    return ExploreReport(
        photos=len(manifest),
        usable=usable.height,
        counts=counts,
        imbalance=_imbalance(counts),
        bins=visits.bins,
        products=len(shelf.products),
        page=str(out),
        page_bytes=len(page.encode()),
        seconds=round(time.perf_counter() - start, 2),
    )


def _headline(
    manifest: Manifest, usable: pl.DataFrame, visits: survey.Visits, shelf: survey.Shelf
) -> list[tuple[str, str]]:
    aside = manifest.table.filter(pl.col("quarantine").list.len() > 0).height
    mean = usable["recorded_count"].cast(pl.Float64).mean()
    return [
        (f"{len(manifest):,}", "photos"),
        (f"{aside:,}" if manifest.name == CHECKED else "?", "set aside by check"),
        (f"{visits.bins:,}", "bins"),
        (f"{mean:.1f}" if isinstance(mean, float) else "?", "items a bin, on average"),
        (f"{len(shelf.products):,}", "products"),
        (_megabytes(float(manifest.table["size_bytes"].sum())), "of photos"),
    ]


def _counts(usable: pl.DataFrame, counts: dict[str, int]) -> dict[str, Any]:
    recorded = usable["recorded_count"].to_numpy().astype(np.int64)
    top = int(TOP_KEY[:-1])
    return {
        "bars": figures.bars(counts, across="recorded count", shares=True),
        "tail": figures.tail(recorded, first=top) if (recorded >= top).any() else None,
        "largest": int(recorded.max(initial=0)),
        "imbalance": _imbalance(counts),
        "commonest": max(counts, key=lambda key: counts[key]),
        "share": max(counts.values()) / max(usable.height, 1),
        "missing": [key for key, photos in counts.items() if not photos],
    }


def _imbalance(counts: dict[str, int]) -> float | None:
    seen = [photos for photos in counts.values() if photos]
    return round(max(seen) / min(seen), 2) if seen else None


def _gallery(usable: pl.DataFrame, config: ExploreConfig) -> list[dict[str, Any]]:
    rows = []
    for key in COUNT_KEYS:
        of_key = usable.filter(pl.col("count_key") == key)
        picked = random.Random(f"{config.seed} {key}").sample(
            range(of_key.height), min(config.photos_per_count, of_key.height)
        )
        if picked:
            rows.append({"key": key, "photos": _figures_of(of_key[picked], config.data, key == TOP_KEY)})
    return rows


def _figures_of(rows: pl.DataFrame, folder: Path, told: bool = True) -> list[dict[str, Any]]:
    """What the page needs to show photos: picture, id and, where `told`, the count."""
    return [
        {"id": name, "uri": _thumbnail(folder / path), "count": count if told else None}
        for name, path, count in rows.select("bin_image_id", "path", "recorded_count").iter_rows()
    ]


def _thumbnail(path: Path) -> str | None:
    """A small picture; None where there is none to be had, which the page shows as an empty frame."""
    try:
        return data_uri(open_image(read_photo(path), draft_px=(_THUMB_PX, _THUMB_PX)), longest_px=_THUMB_PX, quality=72)
    except BintallyError:
        return None


def _quality(table: pl.DataFrame, folder: Path) -> dict[str, Any] | None:
    """Sizes, brightness and sharpness; None before check measured them."""
    measured = table.drop_nulls("width_px")
    if not measured.height:
        return None
    widths, heights = survey.by_kind(measured, "width_px"), survey.by_kind(measured, "height_px")
    limits = _limits(folder)
    dark, blurred = limits.dark_below, limits.blurred_below
    return {
        "sizes": figures.sizes(widths, heights),
        "median": (int(_median(measured["width_px"])), int(_median(measured["height_px"]))),
        "bytes": _megabytes(_median(table["size_bytes"])),
        "brightness": figures.histogram(
            survey.by_kind(measured, "brightness"), across="brightness (mean luma, 0-255)", mark=(dark, "dark")
        ),
        "sharpness": figures.histogram(
            survey.by_kind(measured, "sharpness"),
            across="sharpness (variance of the Laplacian, log scale)",
            log=True,
            mark=(blurred, "blurred"),
        ),
        "darkest": _figures_of(measured.sort("brightness").head(4), folder),
        "blurriest": _figures_of(measured.sort("sharpness").head(4), folder),
        "kinds": len(widths),
    }


def _limits(folder: Path) -> CheckSettings:
    """The limits check went by; today's defaults where its report can't be read."""
    try:
        settings = json.loads((folder / REPORT).read_text())["settings"]
        return CheckSettings.of({name: settings[name] for name in CheckSettings.model_fields})
    except (OSError, ValueError, KeyError, TypeError, ConfigError):
        return CheckSettings()


def _products(shelf: survey.Shelf) -> dict[str, Any] | None:
    if not shelf.records:
        return None
    measures = survey.measures(shelf.products)
    weights = measures.pop("weight")
    return {
        "records": shelf.records,
        "distinct": len(shelf.products),
        "unmeasured": 1 - len(measures["longest side"]) / max(len(shelf.products), 1),
        "sides": figures.histogram(measures, across="inches (log scale)", up="products", log=True),
        "weights": figures.histogram({"weight": weights}, across="pounds (log scale)", up="products", log=True),
        "matrix": figures.matrix(
            shelf.distinct_by_count,
            rows=COUNT_KEYS,
            columns=COUNT_KEYS,
            across="recorded count (items)",
            up="distinct products in the record",
        ),
        "median_side": float(np.median(measures["longest side"])) if len(measures["longest side"]) else None,
        "median_weight": float(np.median(weights)) if len(weights) else None,
    }


def _over_time(usable: pl.DataFrame, visits: survey.Visits, config: ExploreConfig) -> dict[str, Any]:
    lengths = usable.group_by("group", maintain_order=True).len()
    long = lengths.filter(pl.col("len") >= _SHORTEST_STRIP)["group"].to_list()
    shown = random.Random(config.seed).sample(long, min(config.bins_shown, len(long)))
    strips = [_figures_of(usable.filter(pl.col("group") == group).head(_LONGEST_STRIP), config.data) for group in shown]
    colors = [BAD if survey.MINUS in step else MUTED if step == "0" else GOOD for step in visits.changes]
    return {
        "bins": visits.bins,
        "pairs": visits.pairs,
        "per_bin": figures.bars(visits.photos_per_bin, across="photos of the bin", up="bins"),
        "changes": figures.bars(
            visits.changes,
            across="change of the count to the next photo",
            up="pairs of photos",
            colors=colors,
            shares=True,
        ),
        "same": visits.changes["0"] / visits.pairs if visits.pairs else None,
        "strips": [_with_changes(strip) for strip in strips],
    }


def _with_changes(strip: list[dict[str, Any]]) -> list[dict[str, Any]]:
    before = [None, *(photo["count"] for photo in strip)]
    return [
        {**photo, "change": None if old is None else photo["count"] - old}
        for photo, old in zip(strip, before, strict=False)
    ]


def _found(table: pl.DataFrame, config: ExploreConfig) -> list[dict[str, Any]]:
    """What check found, the grave things first: each with its number and a few photos."""
    rows = []
    for column, meanings in (("quarantine", QUARANTINE), ("warnings", WARNINGS)):
        for name, photos in tally(table[column]).items():
            rows.append(
                {
                    "code": name,
                    "grave": column == "quarantine",
                    "photos": photos,
                    "means": meanings.get(name, ""),
                    "examples": _examples(table, column, name, config),
                }
            )
    return rows


def _examples(table: pl.DataFrame, column: str, name: str, config: ExploreConfig) -> list[dict[str, Any]]:
    has = pl.col(column).list.eval(pl.element().str.split(":").list.first() == name).list.any()
    rows = table.filter(has).head(config.examples)
    shown = _figures_of(rows, config.data)
    for figure, findings in zip(shown, rows[column], strict=True):
        figure["detail"] = next(detail(finding) for finding in findings if code(finding) == name)
        figure["pair"] = None
        if "duplicate" in name:
            other = table.filter(pl.col("bin_image_id") == figure["detail"])
            figure["pair"] = _figures_of(other, config.data)[0] if other.height else None
    return shown


def _median(values: pl.Series) -> float:
    median = values.median()
    return float(median) if isinstance(median, int | float) else 0.0


def _megabytes(size_bytes: float) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:.1f} {unit}"
    return f"{size_bytes:.0f} bytes"
