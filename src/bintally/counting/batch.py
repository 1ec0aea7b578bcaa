"""Counting many photos: decoded by threads while the network works on those before, written in order, resumable."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, Final, Self, TextIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from bintally.counting.counter import MAX_BATCH, Counter
from bintally.counting.decode import decode
from bintally.counting.inputs import STDIN, expand, id_of, read_input
from bintally.counting.output import Done, Settings, Style, Writer, open_results, shown, style_of, writer_of
from bintally.errors import ConfigError, PhotoError, UsageError
from bintally.progress import SILENT, Progress
from bintally.records import CountEstimate
from bintally.settings import cpu_count

_AHEAD: Final = 3
"""Batches decoded ahead of the network: enough that it never waits, few enough that memory stays flat."""


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
        """
        try:
            return msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{error}.", hint="`bintally count --help` lists what can be set.") from None


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


class _Decoded(msgspec.Struct):
    name: str
    pixels_hwc: NDArray[np.uint8] | None
    decode_ms: float
    error: str | None


def _batches(counter: Counter, names: Iterable[str], batch_size: int, workers: int) -> Generator[list[CountEstimate]]:
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    waiting: deque[Future[_Decoded]] = deque()
    coming = iter(names)
    try:
        while True:
            for name in islice(coming, _AHEAD * batch_size - len(waiting)):
                # stdin is read here: a thread blocked on it could not be interrupted.
                photo = read_input(name) if name == STDIN else None
                waiting.append(pool.submit(_decode, name, photo, counter.card.height_px, counter.card.width_px))
            if not waiting:
                return
            yield _estimate(counter, [waiting.popleft().result() for _ in range(min(batch_size, len(waiting)))])
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(name: str, photo: bytes | None, height_px: int, width_px: int) -> _Decoded:
    started = time.perf_counter()
    pixels_hwc, error = None, None
    try:
        pixels_hwc = decode(read_input(name) if photo is None else photo, height_px=height_px, width_px=width_px)
    except PhotoError as problem:
        error = problem.message
    return _Decoded(name, pixels_hwc, 1000 * (time.perf_counter() - started), error)


def _estimate(counter: Counter, batch: Sequence[_Decoded]) -> list[CountEstimate]:
    pixels = [photo.pixels_hwc for photo in batch if photo.pixels_hwc is not None]
    decode_ms = [photo.decode_ms for photo in batch if photo.pixels_hwc is not None]
    counted = iter(counter.count_pixels(np.stack(pixels), decode_ms=decode_ms) if pixels else ())
    return [
        msgspec.structs.replace(
            CountEstimate(error=shown(photo.error), model=counter.card.name) if photo.error else next(counted),
            path=shown(photo.name),
            bin_image_id=shown(id_of(photo.name) or "") or None,
        )
        for photo in batch
    ]


def _count(config: CountConfig, to: TextIO | None, progress: Progress) -> CountReport:
    if config.out is not None and STDIN in config.photos:
        raise UsageError("A photo from stdin has no name to resume by.", hint="Leave out --out and redirect with >.")
    style = style_of(config.out) if config.out is not None else config.style
    names = expand(config.photos, listed=config.listed)
    counter = Counter(config.bundle, counts=config.counts)
    tally = _Tally()
    started = time.perf_counter()
    with ExitStack() as stack:
        sinks: list[Callable[[Sequence[CountEstimate]], None]] = [tally.add]
        if config.out is not None:
            results = stack.enter_context(open_results(config.out, _settings(counter, style)))
            tally.resume(results.done)
            names = [name for name in names if not results.has(name)]
            sinks.append(results.write)
        if to is not None:
            sinks.append(_stream(to, writer_of(config.style, counter.keys)))
        task = stack.enter_context(progress.task("count", total=len(names), unit="photos"))
        batches = _batches(counter, names, config.batch_size, config.workers or cpu_count())
        for batch in stack.enter_context(closing(batches)):
            for sink in sinks:
                sink(batch)
            task.advance(len(batch))
    return tally.report(counter, config.out, seconds=time.perf_counter() - started)


def _settings(counter: Counter, style: Style) -> Settings:
    return Settings(counter.card.name, counter.card.model_sha256, counter.keys, style)


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
        self.resumed = self.photos = len(done.paths)
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
