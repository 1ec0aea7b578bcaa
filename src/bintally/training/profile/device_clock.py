"""A device's own timeline: marks put into its queue, looked at once it has passed them, so that nothing waits for it.

A GPU is fed ahead of time: when the host says 'forward', the device may still be at the step before. What counts is
when the device did it. Where the device had nothing to do, whatever the host did just before it went on is the reason.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import torch


class Segment(NamedTuple):
    """A stretch of the host's time under one name; `device`: the computing phase it queued work for, if any."""

    key: str
    seconds: float
    device: str | None


class Mark(NamedTuple):
    """A mark on the device's timeline, put after so many segments of a step."""

    after: int
    event: Any


class DeviceClock(Protocol):
    """What a device with a queue can say about its time."""

    def mark(self) -> Any:
        """A mark at the queue's end."""

    def seconds(self, start: Any, end: Any) -> float | None:
        """From one mark to the other; None: not there yet."""


class CudaClock:
    """A CUDA device's, by events on its current stream."""

    def mark(self) -> torch.cuda.Event:
        """An event at the stream's end."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def seconds(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float | None:
        """From one event to the other; None: the stream has not passed it."""
        return start.elapsed_time(end) / 1000 if end.query() else None  # type: ignore[no-untyped-call]


def host_seconds(segments: Iterable[Segment]) -> dict[str, float]:
    """Time by name, as the host saw it."""
    totals: dict[str, float] = {}
    for segment in segments:
        totals[segment.key] = totals.get(segment.key, 0.0) + segment.seconds
    return totals


def device_seconds(segments: Sequence[Segment], marks: Sequence[Mark], clock: DeviceClock) -> dict[str, float] | None:
    """Time by name, as the device saw it; None: it is not that far yet.

    Between two marks either a phase computed, or the device was at its end and waited: for the last thing the host did
    before the second mark, and what came before that, back to when the device ran out of work.
    """
    if marks and clock.seconds(marks[0].event, marks[-1].event) is None:
        return None
    totals = host_seconds(segments[: marks[0].after] if marks else segments)  # before the first mark: preparation
    for start, end in pairwise(marks):
        between = segments[start.after : end.after]
        seconds = clock.seconds(start.event, end.event) or 0.0
        phase = between[0].device if between else None
        if phase is not None:
            totals[phase] = totals.get(phase, 0.0) + seconds
            continue
        for segment in reversed(between):
            blamed = min(seconds, segment.seconds)
            totals[segment.key] = totals.get(segment.key, 0.0) + blamed
            seconds -= blamed
        if seconds > 0:
            totals["other:unexplained"] = totals.get("other:unexplained", 0.0) + seconds
    return totals
