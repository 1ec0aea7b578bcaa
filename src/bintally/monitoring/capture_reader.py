"""Reads captures: each event once, in order, while others still write."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec

from bintally.monitoring.capture_files import capture_files
from bintally.monitoring.capture_line import Event, decoded, heading_of


class _Place(msgspec.Struct, frozen=True):
    inference_time: datetime
    file: int
    offset: int
    size: int


def read_captures(folder: Path) -> Iterator[Event]:
    """Events captured below `folder` (all of them, or those of an endpoint, a variant, a day), in order of their time.

    Each event comes once, as it was captured last: a request that was sent again with its Idempotency-Key, because the
    service died before it could answer, was captured twice, and what it was answered in the end counts. Lines that a
    kill tore are left out, and so are files that go while this reads. What is held in memory is a few hundred bytes an
    event, and one photo at a time.
    """
    files = capture_files(folder)
    latest: dict[str, _Place] = {}
    for number, path in enumerate(files):
        for event_id, place in _headings(path, number):
            known = latest.get(event_id)
            if known is None or known.inference_time <= place.inference_time:
                latest[event_id] = place
    for place in sorted(latest.values(), key=lambda each: (each.inference_time, each.file, each.offset)):
        event = _read(files[place.file], place)
        if event is not None:
            yield event


def _headings(path: Path, number: int) -> Iterator[tuple[str, _Place]]:
    offset = 0
    with suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:
            heading = heading_of(line)
            if heading is not None:
                yield heading.event_id, _Place(heading.inference_time, number, offset, len(line))
            offset += len(line)


def _read(path: Path, place: _Place) -> Event | None:
    with suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(place.offset)
        return decoded(file.read(place.size))
    return None
