"""`CaptureLog`: questions and answers, durable on disk in SageMaker's format.

Appending returns a future that is done when the line is synced. One thread a process writes: whatever came meanwhile is
written together and synced once, so that many requests share the price of a sync. A batch that can't be written is
taken back (the file is cut to where it was), and the next one tries again: a full disk that has space again needs
nobody's help.
"""

import os
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

from bintally.artifacts import is_at, lock, sync_folder
from bintally.errors import StorageError
from bintally.monitoring.capture_files import SUFFIX, hour_folder
from bintally.monitoring.capture_line import Event, encoded
from bintally.monitoring.capture_tidy import Tidy
from bintally.monitoring.commits import GroupCommit
from bintally.monitoring.files import disk_errors, make_folder

_PARTS: Final = 16  # a file may have this share of all captures' size, so that the oldest go in small steps
_MOST_PART_BYTES: Final = 64 * 2**20
_TRIES: Final = 3


class CaptureLog:
    """Captures below `folder`, of at most `max_bytes` in all and `max_age_s` old; the oldest go.

    What is being written stays, so that there may be one file a process more. `clock` gives Unix time.
    """

    def __init__(
        self, folder: Path, *, max_bytes: int, max_age_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self.folder, self._clock = folder, clock
        self._part_bytes = min(max(max_bytes // _PARTS, 1), _MOST_PART_BYTES)
        self._tidy = Tidy(folder, max_bytes=max_bytes, max_age_s=max_age_s, clock=clock)
        self._commits: GroupCommit[Event, None] = GroupCommit(self._write, name="capture")
        self._part: _Part | None = None
        self._writer = ""

    def append(self, event: Event) -> "Future[None]":
        """Done when `event` is durable.

        Raises (the future):
            StorageError: the disk is full, gone or not to be written.
        """
        return self._commits.submit(event)

    def close(self) -> None:
        """Ends the threads, after what was appended."""
        self._commits.close()
        self._tidy.close()
        self._leave()

    def _write(self, events: Sequence[Event]) -> list[None]:
        with disk_errors(self.folder):
            part = self._current()
            try:
                part.write(map(encoded, events))
            except BaseException:
                self._take_back(part)
                raise
        return [None] * len(events)

    def _current(self) -> "_Part":
        """The file for this hour; another one if it has grown large, or is not where it was."""
        folder = hour_folder(self.folder, self._clock())
        part = self._part
        if part is None or part.path.parent != folder or part.size >= self._part_bytes or not part.is_there:
            self._leave()
            self._part = part = self._begun(folder)
            self._tidy.soon()
        return part

    def _begun(self, folder: Path) -> "_Part":
        for _ in range(_TRIES):
            part = _Part.open(folder / f"{self._name()}{SUFFIX}")
            if part is not None:
                return part
        raise StorageError(f"{folder} goes as fast as it is made.", hint="Look at who removes it.")

    def _name(self) -> str:
        """A name no file had before, whatever the clock says: when the file was begun, by which process, and chance."""
        begun = datetime.fromtimestamp(self._clock(), UTC)
        return f"{begun:%M-%S}-{begun.microsecond // 1000:03d}-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    def _take_back(self, part: "_Part") -> None:
        with suppress(OSError):
            part.cut()
            return
        self._leave()  # half a line stays, which readers skip; the next one begins a file of its own

    def _leave(self) -> None:
        if self._part is not None:
            self._part.close()
            self._part = None


class _Part:
    """One file of captures, held open by the one process that writes it."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path, self._file, self.size = path, file, 0

    @classmethod
    def open(cls, path: Path) -> "_Part | None":
        """A new file; None: whoever tidies up got hold of it, or of its folder, before it was locked."""
        make_folder(path.parent)
        try:
            file = path.open("xb", buffering=0)
        except FileNotFoundError:
            return None
        try:
            if lock(file) and is_at(path, file):
                sync_folder(path.parent)
                return cls(path, file)
        except BaseException:
            file.close()
            raise
        file.close()
        return None

    @property
    def is_there(self) -> bool:
        return is_at(self.path, self._file)

    def write(self, lines: "map[bytes]") -> None:
        """Writes and syncs all `lines`."""
        written = 0
        for line in lines:
            left = memoryview(line)
            while left:
                left = left[self._file.write(left) :]
            written += len(line)
        os.fsync(self._file.fileno())
        self.size += written

    def cut(self) -> None:
        """Takes back what was written since the last sync that worked."""
        os.ftruncate(self._file.fileno(), self.size)
        self._file.seek(self.size)

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()
