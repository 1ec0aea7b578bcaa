"""Pairs: what champion and challenger said of a photo, a JSON line each.

```
PLACE/shadow/CHALLENGER-CHAMPION/   by the numbers of both in the database
    HOST-PID-START.jsonl            of one service process; lines are only added
```

The first line of a file says who writes it and how fast both models are there; another such line follows whenever the
challenger was loaded anew. Photos are not kept, only their SHA-256. A kill leaves at most one torn line at the end,
which is cut before the next one is added, and which readers skip.
"""

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, Self, TypeAlias

import msgspec

from bintally.artifacts import storage_errors, sync_folder
from bintally.errors import StorageError
from bintally.records import CountEstimate

SHADOW: Final = "shadow"
SUFFIX: Final = ".jsonl"

_DIGITS: Final = 6  # of probabilities: log loss needs more than an answer shows


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model told of a photo. `error`: why it told nothing."""

    count: int | None = None
    expected_count: float | None = None
    probabilities: dict[str, float] = {}
    abstain: str | None = None
    error: str | None = None
    latency_ms: float = 0.0  # decoding and inference, as it was: the challenger works on one core, when nobody needs it

    @classmethod
    def of(cls, estimate: CountEstimate) -> Self:
        """What an estimate tells."""
        timings = estimate.timings
        return cls(
            count=estimate.count,
            expected_count=None if estimate.expected_count is None else round(estimate.expected_count, _DIGITS),
            probabilities={key: round(p, _DIGITS) for key, p in estimate.probabilities.items()},
            abstain=estimate.abstain,
            error=estimate.error,
            latency_ms=0.0 if timings is None else round(timings.decode_ms + timings.inference_ms, 3),
        )

    @property
    def taken_for(self) -> int | None:
        """The count, where the photo is taken for a bin."""
        return self.count if self.abstain is None and self.error is None else None


class Pair(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="pair", tag_field="kind"):
    """Both answers to one request.

    `dropped`: photos that this process should have paired since the pair before, and had no time for.
    """

    request_id: str
    at: datetime
    photo_sha256: str
    champion: Told
    challenger: Told
    counts: str | None = None  # those that were asked for
    site: str | None = None
    bin: str | None = None
    bin_image_id: str | None = None
    recorded_count: int | None = None
    verdict: str | None = None  # match, mismatch ...: of the champion's answer
    dropped: int = 0

    @property
    def group(self) -> str:
        """What photos of one bin have in common, as far as that is known."""
        if self.bin is not None:
            return f"bin {self.site or ''}/{self.bin}"
        return f"image {self.bin_image_id}" if self.bin_image_id is not None else self.photo_sha256


class Begun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="begun", tag_field="kind"):
    """A process begins to pair. `*_ms`: median processor time of an inference, measured one beside the other."""

    at: datetime
    service: str
    challenger: str
    champion: str
    challenger_ms: float | None = None
    champion_ms: float | None = None


Line: TypeAlias = Pair | Begun

_DECODER: Final = msgspec.json.Decoder(Line)


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What was kept of one challenger beside one champion; each request once, in the order of the moments."""

    pairs: list[Pair]
    begun: list[Begun]
    torn: int  # lines

    @property
    def dropped(self) -> int:
        """Photos that there was no time for."""
        return sum(pair.dropped for pair in self.pairs)


def folder_of(place: Path, challenger_id: int, champion_id: int) -> Path:
    """Where pairs of two versions are kept."""
    return place / SHADOW / f"{challenger_id}-{champion_id}"


def bytes_in(folder: Path) -> int:
    """Bytes of all pairs in a folder."""
    return sum(path.stat().st_size for path in folder.glob(f"*{SUFFIX}")) if folder.is_dir() else 0


def read_pairs(folder: Path) -> Kept:
    """All that is kept in a folder; nothing where there is none. Torn lines are skipped.

    Raises:
        StorageError: it can't be read.
    """
    pairs: dict[tuple[str, str], Pair] = {}  # a caller may give two photos one request id
    begun: list[Begun] = []
    torn = 0
    with storage_errors(folder):
        for line in _lines(folder):
            try:
                read = _DECODER.decode(line)
            except msgspec.DecodeError:
                torn += 1
                continue
            if isinstance(read, Pair):
                pairs.setdefault((read.request_id, read.photo_sha256), read)
            else:
                begun.append(read)
    return Kept(pairs=sorted(pairs.values(), key=lambda pair: pair.at), begun=begun, torn=torn)


class PairFile:
    """A file that one process adds lines to. What a kill left of a line is cut when it is opened.

    Raises:
        StorageError: it can't be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._encoder = msgspec.json.Encoder()
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
            self._size = _cut_torn_line(self._file)
            sync_folder(path.parent)

    def add(self, line: Line) -> int:
        """Adds a line, whole or not at all; returns its bytes. It outlives the process, and after `sync` the machine.

        Raises:
            StorageError: the disk is full, or gone.
        """
        data = self._encoder.encode(line) + b"\n"
        try:
            with storage_errors(self.path):
                written = os.write(self._file, data)
        except BaseException:
            self._take_back()
            raise
        if written < len(data):
            self._take_back()
            raise StorageError(f"No space left to write {self.path}.", hint="Free some space.")
        self._size += written
        return written

    def sync(self) -> None:
        """Returns when all lines would outlive a power cut.

        Raises:
            StorageError: the disk fails.
        """
        with storage_errors(self.path):
            os.fsync(self._file)

    def close(self) -> None:
        """No more lines."""
        os.close(self._file)

    def _take_back(self) -> None:
        with storage_errors(self.path):
            os.ftruncate(self._file, self._size)


def _cut_torn_line(file: int) -> int:
    """Cuts what follows the last line's end; returns the file's size."""
    size = end = os.fstat(file).st_size
    while end:
        start = max(0, end - 65_536)
        os.lseek(file, start, os.SEEK_SET)
        at = os.read(file, end - start).rfind(b"\n")
        if at >= 0:
            end = start + at + 1
            break
        end = start
    if end < size:
        os.ftruncate(file, end)
    return end


def _lines(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with path.open("rb") as file:
            yield from (line for line in file if line.strip())
