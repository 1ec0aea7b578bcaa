"""Counting many photos: decoded by threads while the network works on those before, written in order, resumable."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Self, TextIO, TypeVar

import msgspec
import numpy as np

from bintally.counting.ahead import Decoded, decoded_ahead
from bintally.counting.counter import Counter
from bintally.counting.inputs import STDIN, expand, id_of
from bintally.counting.network import MAX_BATCH
from bintally.counting.output import Done, Results, Settings, open_results, shown, style_of
from bintally.counting.writers import Style, Writer, writer_of
from bintally.errors import ConfigError, UsageError
from bintally.progress import SILENT, Progress
from bintally.records import CountEstimate
from bintally.settings import cpu_count

Row = TypeVar("Row")


class CountConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to count and how.

    A msgspec record rather than a pydantic `Config`, whose import alone takes 90 ms of the second that
    `bintally count photo.jpg` may take in all (measured on 2 cores).
    """

    photos: tuple[str, ...] = ()  # files, folders, patterns, URLs, or "-" for a photo on stdin
    listed: Path | None = None  # a file with a photo's path or URL a line
    bundle: Path | None = None  # the model; None: $BINTALLY_BUNDLE, else the bundled one
    counts: str | None = None  # the counts to choose from, such as "1-5"; None: all the model knows
    out: Path | None = None  # results file (.jsonl or .csv) that a later run goes on with
    style: Style = "jsonl"  # how lines look where they go to a stream
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=MAX_BATCH)] = 8  # photos in one inference
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None  # decode threads; None: one a core

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """The settings `values` describe.

        Raises:
            ConfigError: a value out of range or of the wrong type.
            UsageError: `out` has an unknown suffix.
        """
        try:
            config = msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{error}.", hint="`bintally count --help` lists what can be set.") from None
        if config.out is not None:
            style_of(config.out)
        return config


class CountReport(msgspec.Struct, frozen=True):
    """What a run of `count` did; with `out`, over all lines of that file, those of earlier runs included."""

    model: str
    licence: str
    counts: tuple[str, ...]
    photos: int
    counted: int
    abstained: int
    failed: int
    resumed: int  # photos an earlier run had done
    seconds: float
    photos_per_s: float
    out: str | None


def count(
    *,
    photos: Sequence[str | Path] | str | Path = (),
    listed: Path | None = None,
    bundle: Path | str | None = None,
    counts: str | None = None,
    out: Path | str | None = None,
    to: TextIO | None = None,
    style: Style = "jsonl",
    batch_size: int = 8,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> CountReport:
    """Counts photos, folders, patterns and URLs into the file `out`, or onto the stream `to` in `style`.

    A photo that can't be read gets a line with `error`; the others are counted. To have the estimates themselves, use
    `Counter.count` or `estimates`.

    Raises:
        UsageError: an input that does not exist, or an `out` that holds results of another model or other counts.
        DataError: no photos at all.
        BundleError: the model can't be used.
        StorageError: disk full, or no permission.
    """
    named = [photos] if isinstance(photos, str | Path) else photos
    config = CountConfig.of(
        {
            "photos": tuple(map(str, named)),
            "listed": None if listed is None else Path(listed),
            "bundle": None if bundle is None else Path(bundle),
            "counts": counts,
            "out": None if out is None else Path(out),
            "style": style,
            "batch_size": batch_size,
            "workers": workers,
        }
    )
    return _count(config, to, progress)


def estimates(
    counter: Counter, photos: Iterable[str], *, batch_size: int = 8, workers: int | None = None
) -> Iterator[CountEstimate]:
    """An estimate for each of `photos` (paths, URLs or "-"), in their order; unreadable ones carry `error`."""
    return chain.from_iterable(_batches(counter, photos, batch_size, workers or cpu_count()))


def _batches(counter: Counter, names: Iterable[str], batch_size: int, workers: int) -> Generator[list[CountEstimate]]:
    photos = decoded_ahead(names, lambda name: (name,), counter.card, batch_size=batch_size, workers=workers)
    with closing(photos):
        for batch in photos:
            yield _estimate(counter, [(name, photo) for name, [photo] in batch])


def _estimate(counter: Counter, batch: Sequence[tuple[str, Decoded]]) -> list[CountEstimate]:
    pixels = [photo.pixels_hwc for _, photo in batch if photo.pixels_hwc is not None]
    decode_ms = [photo.decode_ms for _, photo in batch if photo.pixels_hwc is not None]
    counted = iter(counter.count_pixels(np.stack(pixels), decode_ms=decode_ms) if pixels else ())
    return [
        msgspec.structs.replace(
            CountEstimate(error=shown(photo.error), model=counter.card.name) if photo.error else next(counted),
            path=shown(name),
            bin_image_id=shown(id_of(name) or "") or None,
        )
        for name, photo in batch
    ]


def _count(config: CountConfig, to: TextIO | None, progress: Progress) -> CountReport:
    if config.out is not None and STDIN in config.photos:
        raise UsageError("A photo from stdin has no name to resume by.", hint="Leave out --out and redirect with >.")
    names = expand(config.photos, listed=config.listed)
    return written(
        config,
        Counter(config.bundle, counts=config.counts),
        names,
        missing=lambda results: [name for name in names if not results.has(name)],
        answers=_batches,
        to=to,
        progress=progress,
    )


def written(
    config: CountConfig,
    counter: Counter,
    rows: Sequence[Row],
    *,
    missing: Callable[[Results], Sequence[Row]],
    answers: Callable[[Counter, Sequence[Row], int, int], Generator[list[CountEstimate]]],
    to: TextIO | None,
    progress: Progress,
    pairs: bool = False,
) -> CountReport:
    """Writes the `answers` to rows into the file `config.out` and onto the stream `to`, as each batch is done.

    `missing` are those rows that an existing file has no line of; `pairs` says whether rows have an earlier photo.
    """
    style = style_of(config.out) if config.out is not None else config.style
    tally = _Tally()
    started = time.perf_counter()
    with ExitStack() as stack:
        sinks: list[Callable[[Sequence[CountEstimate]], None]] = [tally.add]
        if config.out is not None:
            results = stack.enter_context(open_results(config.out, _settings(counter, style, pairs=pairs)))
            tally.resume(results.done)
            rows = missing(results)
            sinks.append(results.write)
        if to is not None:
            sinks.append(_stream(to, writer_of(config.style, counter.keys, pairs=pairs)))
        task = stack.enter_context(progress.task("count", total=len(rows), unit="pairs" if pairs else "photos"))
        batches = answers(counter, rows, config.batch_size, config.workers or cpu_count())
        for batch in stack.enter_context(closing(batches)):
            for sink in sinks:
                sink(batch)
            task.advance(len(batch))
    return tally.report(counter, config.out, seconds=time.perf_counter() - started)


def _settings(counter: Counter, style: Style, *, pairs: bool) -> Settings:
    return Settings(counter.card.name, counter.card.model_sha256, counter.keys, style, pairs)


def _stream(to: TextIO, writer: Writer) -> Callable[[Sequence[CountEstimate]], None]:
    """Writes to a stream, flushed line by line: whoever reads a pipe sees each count as soon as it is there."""
    to.write(writer.header())

    def write(batch: Sequence[CountEstimate]) -> None:
        for estimate in batch:
            to.write(writer.line(estimate))
            to.flush()

    return write


class _Tally:
    """Running totals of a report."""

    def __init__(self) -> None:
        self.photos = self.abstained = self.failed = self.resumed = 0

    def resume(self, done: Done) -> None:
        self.resumed = self.photos = done.photos
        self.abstained, self.failed = done.abstained, done.failed

    def add(self, batch: Sequence[CountEstimate]) -> None:
        self.photos += len(batch)
        self.abstained += sum(estimate.abstain is not None for estimate in batch)
        self.failed += sum(estimate.error is not None for estimate in batch)

    def report(self, counter: Counter, out: Path | None, *, seconds: float) -> CountReport:
        now = self.photos - self.resumed
        return CountReport(
            model=counter.card.name,
            licence=counter.card.licence,
            counts=counter.keys,
            photos=self.photos,
            counted=self.photos - self.abstained - self.failed,
            abstained=self.abstained,
            failed=self.failed,
            resumed=self.resumed,
            seconds=round(seconds, 3),
            photos_per_s=round(now / seconds, 1) if seconds else 0.0,
            out=None if out is None else str(out),
        )
