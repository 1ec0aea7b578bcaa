"""fetch: photos and records of a source become a data folder with its manifest.

```
OUT/bin-images/<id>.jpg     as received, byte for byte
OUT/metadata/<id>.json
OUT/manifest.parquet        a row for each photo that is here, sorted by id, with the SHA-256 of its bytes
OUT/fetch.json              what is missing, broken or odd, and why
OUT/.fetch.journal          what is already here: a killed fetch goes on from it
```
"""

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from pydantic import Field, field_validator

from bintally.artifacts import write_json
from bintally.config import Config
from bintally.data.abid import METADATA, PHOTOS, Label, parse_list
from bintally.data.journal import Journal
from bintally.data.selection import Plan, Wanted, parse_ids, select
from bintally.data.sources import open_source
from bintally.data.sources.base import Source
from bintally.data.transfer import Arrival, Tally, Transfer
from bintally.errors import ConfigError, SourceError, UsageError
from bintally.manifest import FETCHED, Manifest
from bintally.progress import SILENT, Progress
from bintally.records import COUNT_KEYS, key_of, parse_counts, to_plain

REPORT: Final = "fetch.json"
DISK_THREADS: Final = 8

T = TypeVar("T")


class FetchSettings(Config):
    """Which photos, and how hard to try."""

    list_file: Path | None = Field(
        default=None, description="only the photos of a file_list.json, or of a CSV with id,count"
    )
    ids: str | None = Field(default=None, description='ids such as "00001-00500" or "1,00007"; zeros count')
    counts: str | None = Field(default=None, description='only photos with these counts, such as "1-5"')
    limit: int | None = Field(default=None, ge=1, description="only the first so many of them, in order of ids")
    photos: int = Field(default=2400, ge=1, le=1_000_000, description="size of the rendered sample")
    seed: int = Field(default=0, ge=0, description="seed of the rendered sample")
    endpoint: str | None = Field(
        default=None, description="address of an S3 or GCS service other than Amazon's or Google's"
    )
    anonymous: bool = Field(default=False, description="ask a public bucket without credentials")
    concurrency: int = Field(default=64, ge=1, le=1024, description="objects asked for at the same time")
    retries: int = Field(
        default=5, ge=0, le=20, description="how often an object is asked for again when the line fails"
    )
    timeout_s: float = Field(default=30.0, gt=0, le=3600, description="seconds after which an answer has failed")

    @field_validator("counts")
    @classmethod
    def _counts_are_keys(cls, text: str | None) -> str | None:
        if text is not None:
            parse_counts(text)
        return text


class FetchConfig(FetchSettings):
    """What to fetch from where to where."""

    source: str = Field(description="abid, s3://, gs://, https://, a folder, a CSV of path,count, or sample")
    out: Path = Field(description="the data folder")


class FetchReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a fetch. The ids behind the figures are in fetch.json."""

    source: str
    folder: str
    asked: int  # photos selected
    photos: int  # rows of the manifest
    fetched: int
    reused: int  # already here from an earlier run
    missing: int  # photos the source does not have
    broken: int  # objects (photos or metadata) that could not be had after all retries
    without_metadata: int
    without_count: int  # photos nobody told the count of
    uncounted: int  # such photos that --counts left out
    contradictions: int  # photos whose metadata and list or table name different counts; metadata counts
    odd: int  # lines of tables, metadata files and files of the source that could not be used
    counts: dict[str, int]  # photos by recorded count, "6+" for all above 5
    bytes: int  # received in this run
    retries: int
    seconds: float
    outputs: tuple[str, ...]  # files other stages rely on, relative to `folder`


def fetch(
    *,
    source: str,
    out: Path,
    list_file: Path | None = None,
    ids: str | None = None,
    counts: str | None = None,
    limit: int | None = None,
    photos: int = 2400,
    seed: int = 0,
    endpoint: str | None = None,
    anonymous: bool = False,
    concurrency: int = 64,
    retries: int = 5,
    timeout_s: float = 30.0,
    progress: Progress = SILENT,
) -> FetchReport:
    """Fetches photos and records of `source` into the data folder `out`, and writes its manifest.

    It can be stopped at any moment, by a kill too, and goes on when called again. What can't be had is listed in
    fetch.json and counted in the report. See `FetchSettings` for what each option means.

    Raises:
        ConfigError: an option makes no sense.
        SourceError: the source can't be reached or listed, or none of the photos came.
        UsageError: `out` belongs to another source, or another fetch is at work there.
        StorageError: disk full, or no permission.
    """
    values = {name: value for name, value in locals().items() if name != "progress"}
    return _fetch(FetchConfig.of(values), progress)


def _fetch(config: FetchConfig, progress: Progress) -> FetchReport:
    started = time.monotonic()
    wanted = _wanted(config)
    source = open_source(
        config.source,
        endpoint=config.endpoint,
        anonymous=config.anonymous,
        timeout_s=config.timeout_s,
        photos=config.photos,
        seed=config.seed,
        progress=progress,
    )
    _keep_off_the_source(config)
    journal = Journal.open(config.out, source.name)
    try:
        _sweep(config.out)
        transfer = Transfer(source, config.out, journal, concurrency=config.concurrency, retries=config.retries)
        plan, arrivals = _run(_transferred(wanted, source, transfer, progress))
        arrivals.sort(key=lambda arrival: arrival.bin_image_id)  # so that the manifest is always the same
        return _written(_Outcome(config, source, transfer.tally, plan, arrivals), started)
    finally:
        journal.close()


def _wanted(config: FetchConfig) -> Wanted:
    """What the options ask for, before anything is opened.

    Raises:
        ConfigError: ids that make no sense, or no such list.
    """
    listed = None
    if config.list_file is not None:
        try:
            listed = parse_list(config.list_file.read_bytes(), str(config.list_file))
        except OSError as error:
            raise ConfigError(f"{config.list_file} can't be read: {error.strerror}.", hint="Check --list.") from error
    return Wanted(
        listed=listed,
        ids=parse_ids(config.ids) if config.ids is not None else None,
        count_keys=parse_counts(config.counts) if config.counts is not None else None,
        limit=config.limit,
    )


async def _transferred(
    wanted: Wanted, source: Source, transfer: Transfer, progress: Progress
) -> tuple[Plan, list[Arrival]]:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(DISK_THREADS, thread_name_prefix="fetch-disk"))
    plan = await select(wanted, source, transfer, progress)
    with progress.task("fetch", total=len(plan.entries), unit="photos") as task:
        return plan, await transfer.photos(plan.entries, task)


def _run(work: Coroutine[Any, Any, T]) -> T:
    """`work` in an event loop of its own, in a thread of its own where this one already has a loop (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _unwrapped(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_unwrapped, work).result()


def _unwrapped(work: Coroutine[Any, Any, T]) -> T:
    """The first failure of many concurrent ones, without the group around it."""
    try:
        return asyncio.run(work)
    except BaseExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


def _keep_off_the_source(config: FetchConfig) -> None:
    """A fetch never writes over what it reads, nor through a link into somebody else's photos.

    Raises:
        UsageError: it would.
    """
    links = [part for part in (config.out / PHOTOS, config.out / METADATA) if part.is_symlink()]
    if links or Path(config.source).expanduser().resolve() == config.out.resolve():
        what = f"{links[0]} is a link" if links else f"{config.out} is the source itself"
        raise UsageError(f"{what}: photos fetched there would replace the originals.", hint="Choose another --out.")


def _sweep(folder: Path) -> None:
    """Removes what a killed fetch had begun to write. No other fetch is at work: the journal is ours."""
    for part in (folder / PHOTOS, folder / METADATA):
        part.mkdir(exist_ok=True)
        for left in part.glob(".*.tmp"):
            left.unlink(missing_ok=True)


class _Outcome(msgspec.Struct, frozen=True):
    """Everything a fetch found out, before it is told."""

    config: FetchConfig
    source: Source
    tally: Tally
    plan: Plan
    arrivals: list[Arrival]  # sorted by id


def _written(outcome: _Outcome, started: float) -> FetchReport:
    """Writes manifest and fetch.json, and sums up.

    Raises:
        SourceError: not one photo came.
    """
    folder = outcome.config.out
    rows = [_row(arrival, outcome.plan.labels.get(arrival.bin_image_id, Label())) for arrival in outcome.arrivals]
    details = _details(outcome, rows)
    write_json(folder / REPORT, details)
    if not rows:
        raise _nothing_came(outcome)
    Manifest.build(folder, rows).write(FETCHED)
    counts = Counter(key_of(row["recorded_count"]) for row in rows if row["recorded_count"] is not None)
    reused = sum(arrival.reused for arrival in outcome.arrivals)
    return FetchReport(
        source=outcome.source.name,
        folder=str(folder),
        asked=len(outcome.plan.entries),
        photos=len(rows),
        fetched=len(rows) - reused,
        reused=reused,
        missing=len(details["missing"]),
        broken=len(details["broken"]),
        without_metadata=sum(arrival.metadata is None for arrival in outcome.arrivals),
        without_count=sum(row["recorded_count"] is None for row in rows),
        uncounted=outcome.plan.uncounted,
        contradictions=len(details["contradictions"]),
        odd=sum(len(details[part]) for part in ("odd_metadata", "odd_labels", "ignored")),
        counts={key: counts[key] for key in COUNT_KEYS},
        bytes=outcome.tally.bytes,
        retries=outcome.tally.retries,
        seconds=round(time.monotonic() - started, 2),
        outputs=(FETCHED, REPORT),
    )


def _row(arrival: Arrival, label: Label) -> dict[str, Any]:
    """A photo's line of the manifest. Metadata is the label; where it tells none, a list or table may."""
    metadata = arrival.metadata
    quantity = metadata.expected_quantity if metadata else None
    return {
        "bin_image_id": arrival.bin_image_id,
        "path": arrival.photo.name,
        "metadata_path": f"{METADATA}/{arrival.bin_image_id}.json" if metadata else None,
        "sha256": arrival.photo.sha256,
        "size_bytes": arrival.photo.size_bytes,
        "recorded_count": label.count if quantity is None else quantity,
        "count_source": label.source if quantity is None else "metadata",
        "product_ids": [product.asin for product in metadata.products] if metadata else None,
        "encoding": label.encoding,
        "group": label.group,
        "split": label.split,
    }


def _contradict(quantity: int | None, told: int | None) -> bool:
    return quantity is not None and told is not None and quantity != told


def _details(outcome: _Outcome, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What fetch.json says: the same for the same source and selection, however often the fetch was stopped."""
    labels, tally = outcome.plan.labels, outcome.tally
    known = [(arrival.bin_image_id, arrival.metadata) for arrival in outcome.arrivals if arrival.metadata]
    return {
        "source": outcome.source.name,
        "selection": outcome.config.model_dump(mode="json", include={"list_file", "ids", "counts", "limit"}),
        "asked": len(outcome.plan.entries),
        "photos": len(outcome.arrivals),
        "missing": sorted(tally.missing),
        "broken": [to_plain(tally.broken[key]) for key in sorted(tally.broken)],
        "without_count": [row["bin_image_id"] for row in rows if row["recorded_count"] is None],
        "contradictions": [
            {"bin_image_id": name, "metadata": metadata.expected_quantity, "told": labels[name].count}
            for name, metadata in known
            if name in labels and _contradict(metadata.expected_quantity, labels[name].count)
        ],
        "odd_metadata": [{"bin_image_id": name, "why": odd.problems} for name, odd in known if odd.problems],
        "odd_labels": list(outcome.plan.problems),
        "ignored": sorted(outcome.source.ignored),
    }


def _nothing_came(outcome: _Outcome) -> SourceError:
    asked, tally, name = len(outcome.plan.entries), outcome.tally, outcome.source.name
    if not asked:
        left_out = f" ({outcome.plan.uncounted} have no count)" if outcome.plan.uncounted else ""
        return SourceError(f"{name} has no photo that fits{left_out}.", hint="Select others, or another source.")
    why = f" (one of them: {next(iter(tally.broken.values())).why})" if tally.broken else ""
    return SourceError(
        f"None of {asked} photos came from {name}: {len(tally.missing)} missing, {len(tally.broken)} broken{why}.",
        hint=f"Check the address, the ids and your rights; {outcome.config.out / REPORT} lists them.",
    )
