"""What a drive showed: frozen records that are robots.json."""

from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from bintally.simulation.robots.book import COUNTED, DoorName, Entry
from bintally.simulation.robots.fleet import Drive
from bintally.simulation.robots.settings import FleetSettings

FORMAT: Final = 1
MAX_LAG_MS: Final = 50.0
MAX_CPU: Final = 0.85
"""Of the one core that a generator can use: above these two, its own lateness is part of the latencies."""


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds from the moment a photo was due. None: of so many there was no count at all."""

    photos: int
    p50: float | None
    p90: float | None
    p99: float | None
    max: float | None

    @classmethod
    def of(cls, seconds: Iterable[float]) -> "Latency":
        """Of latencies in seconds; those of photos that were not counted are infinite."""
        every = np.sort(np.fromiter(seconds, float)) * 1000
        if not len(every):
            return cls(0, None, None, None, None)
        found = np.percentile(every, (50, 90, 99, 100), method="higher")
        return cls(len(every), *(round(float(each), 2) if np.isfinite(each) else None for each in found))


class Second(msgspec.Struct, frozen=True):
    """The photos that were due in one second of the drive."""

    second: int
    due: int
    counted: int
    p50_ms: float | None
    max_ms: float | None


class Bar(msgspec.Struct, frozen=True):
    """Photos whose latency is in one range of the histogram."""

    from_ms: float
    to_ms: float
    photos: int


class FleetReport(msgspec.Struct, frozen=True, kw_only=True):
    """A drive's figures. Rates and latencies are of the photos due after the warm-up, all else of all photos.

    Latencies leave out the photos whose connection was broken on purpose, and refusals of damaged ones.
    """

    format: int = FORMAT
    robots: int
    doors: dict[DoorName, int]  # photos by door
    settings: dict[str, Any]
    photos: int
    counted: int
    degraded: int  # of these, with something that could not be done beside the count (the ledger was away)
    refused: dict[str, int]  # by the error's code
    expected_refusals: int  # of photos that were damaged on purpose
    hints: dict[str, str]  # of each code, one of the refusals' words
    lost: int  # not answered within the patience
    doubled: int  # counted twice
    misfits: int  # answered with another photo's count
    repeated: int  # the same answer came again
    kinds: dict[str, int]
    tries: dict[str, int]  # what was tried again, and why
    verdicts: dict[str, int]
    due_per_s: float
    counted_per_s: float
    latency_ms: Latency
    latency_ms_by_door: dict[DoorName, Latency]
    lag_ms: Latency  # how late the generator itself was in sending
    cpu: float  # cores that the generator took
    wall_s: float
    course: tuple[Second, ...]
    histogram: tuple[Bar, ...]
    examples: tuple[str, ...]  # some of what was lost, doubled or misfitting
    cautions: tuple[str, ...]
    page: str = ""

    @property
    def is_exact(self) -> bool:
        """Whether every photo was answered, once, and with its own answer."""
        return not (self.lost or self.doubled or self.misfits)

    @property
    def unexpected_refusals(self) -> int:
        """Refused, though nothing was wrong with the photo."""
        return sum(self.refused.values()) - self.expected_refusals


def report_of(drive: Drive, settings: FleetSettings) -> FleetReport:
    """The figures of a drive."""
    book, entries = drive.book, list(drive.book.entries.values())
    measured = [entry for entry in entries if entry.due - drive.start >= settings.warm_up_s]
    span_s = settings.seconds - settings.warm_up_s
    refusals = [entry.answer for entry in entries if entry.answer is not None and entry.answer.code != COUNTED]
    lag = Latency.of(entry.sent - entry.due for entry in entries if entry.sent is not None)
    lost, cpu = book.lost, drive.cpu_s / drive.wall_s
    return FleetReport(
        robots=settings.robots,
        doors=dict(Tally(entry.door for entry in entries)),
        settings=settings.model_dump(mode="json", exclude={"mqtt", "bins"}) | {"bins": len(settings.bins)},
        photos=len(entries),
        counted=sum(entry.is_counted for entry in entries),
        degraded=sum(entry.answer is not None and entry.answer.is_degraded for entry in entries),
        refused=dict(Tally(answer.code for answer in refusals).most_common()),
        expected_refusals=sum(_is_expected(entry) for entry in entries),
        hints={answer.code: answer.hint for answer in refusals},
        lost=len(lost),
        doubled=len(book.doubled),
        misfits=len(book.misfits),
        repeated=book.repeated,
        kinds=dict(Tally(entry.kind for entry in entries).most_common()),
        tries=dict(book.tries.most_common()),
        verdicts=dict(Tally(entry.answer.verdict for entry in entries if entry.answer and entry.answer.verdict)),
        due_per_s=len(measured) / span_s,
        counted_per_s=sum(entry.is_counted for entry in measured) / span_s,
        latency_ms=_latency(measured),
        latency_ms_by_door={
            door: _latency([entry for entry in measured if entry.door == door])
            for door in sorted({entry.door for entry in entries})
        },
        lag_ms=lag,
        cpu=cpu,
        wall_s=drive.wall_s,
        course=tuple(_course(entries, drive.start)),
        histogram=tuple(_histogram(entry.latency_s for entry in measured if _is_timed(entry))),
        examples=tuple([*lost, *book.doubled, *book.misfits][:10]),
        cautions=tuple(_cautions(lag, cpu, len(measured))),
    )


def _latency(entries: Sequence[Entry]) -> Latency:
    return Latency.of(entry.latency_s for entry in entries if _is_timed(entry))


def _is_timed(entry: Entry) -> bool:
    return entry.kind != "dropout" and not _is_expected(entry)


def _is_expected(entry: Entry) -> bool:
    """Whether it is a refusal that was asked for."""
    return entry.kind == "damaged" and entry.answer is not None and entry.answer.code != COUNTED


def _course(entries: Sequence[Entry], start: float) -> Iterable[Second]:
    seconds: dict[int, list[Entry]] = {}
    for entry in entries:
        if _is_expected(entry):
            continue
        seconds.setdefault(int(entry.due - start), []).append(entry)
    for second, due in sorted(seconds.items()):
        counted = [entry.latency_s for entry in due if entry.is_counted and _is_timed(entry)]
        latency = Latency.of(counted)
        yield Second(second, len(due), sum(entry.is_counted for entry in due), latency.p50, latency.max)


def _histogram(latencies_s: Iterable[float]) -> Iterable[Bar]:
    """Ten ranges for each factor of ten, without the empty ones at both ends."""
    finite_ms = np.array([1000 * each for each in latencies_s if np.isfinite(each)])
    if not len(finite_ms):
        return
    powers = 10 * np.log10(np.maximum(finite_ms, 0.1))
    edges = np.arange(np.floor(powers.min()), np.floor(powers.max()) + 2)
    photos, _ = np.histogram(powers, edges)
    for number, low, high in zip(photos.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        yield Bar(round(10 ** (low / 10), 3), round(10 ** (high / 10), 3), number)


def _cautions(lag: Latency, cpu: float, measured: int) -> Iterable[str]:
    if (lag.p99 or 0.0) > MAX_LAG_MS or cpu > MAX_CPU:
        yield (
            f"The load generator itself was late (p99 {lag.p99 or 0:,.0f} ms, {cpu:.0%} of a core): the service may "
            "be faster than this shows. Use fewer robots, or several generators."
        )
    if measured < 100:
        yield f"{measured} photos are few: p99 is hardly more than the slowest of them."
