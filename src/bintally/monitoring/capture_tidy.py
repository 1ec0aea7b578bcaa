"""Keeps captures within their size and age, and mends what killed processes left, in a thread of its own."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

import msgspec

from bintally.artifacts import lock
from bintally.monitoring.capture_files import capture_files
from bintally.monitoring.files import unwritten

_EVERY_S: Final = 60.0
_STEADY_S: Final = 3600.0
_AT_ONCE_BYTES: Final = 2**16
_LOCK: Final = ".tidy.lock"


class _Seen(msgspec.Struct, frozen=True):
    path: Path
    size: int
    written_at: float


class Tidy:
    """Tidies `folder` up now and then. Of several processes one does at a time, and the others leave it to it."""

    def __init__(self, folder: Path, *, max_bytes: int, max_age_s: float, clock: Callable[[], float]) -> None:
        self._folder, self._max_bytes, self._max_age_s, self._clock = folder, max_bytes, max_age_s, clock
        self._wake, self._is_closing = threading.Event(), False
        self._thread: threading.Thread | None = None

    def soon(self) -> None:
        """Tidies up without being waited for."""
        self._wake.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="capture-tidy", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Ends the thread, after a last look."""
        self._is_closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        mended: set[Path] = set()
        ahead_s = self._clock() - time.monotonic()
        while True:
            self._wake.clear()
            # A clock that was set is no reason to throw everything away: until the next start, only size counts then.
            is_steady = abs(self._clock() - time.monotonic() - ahead_s) < _STEADY_S
            before_s = self._clock() - self._max_age_s if is_steady else None
            with suppress(OSError), _alone(self._folder) as is_alone:  # what fails now is tried again
                if is_alone:
                    tidy(self._folder, max_bytes=self._max_bytes, before_s=before_s, mended=mended)
            if self._is_closing:
                return
            self._wake.wait(_EVERY_S)


def tidy(folder: Path, *, max_bytes: int, before_s: float | None, mended: set[Path]) -> None:
    """Cuts torn last lines, and removes files last written before `before_s` (Unix time), and the oldest of too many.

    What a process is writing is left alone. `mended`: files that are known to be whole; those looked at are added.
    """
    files = [seen for path in capture_files(folder) if (seen := _look(path)) is not None]
    for each in files:
        if each.path not in mended:
            with suppress(OSError):
                _mend(each.path, mended)
    mended.intersection_update(each.path for each in files)
    total = sum(each.size for each in files)
    for each in files:
        is_old = before_s is not None and each.written_at < before_s
        if (is_old or total > max_bytes) and _removed(each.path, folder):
            total -= each.size


def _look(path: Path) -> _Seen | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return _Seen(path, stat.st_size, stat.st_mtime)


def _mend(path: Path, mended: set[Path]) -> None:
    """Cuts what stands behind the last end of a line: half a line, which nobody was told is kept."""
    with unwritten(path) as file:
        if file is None:
            return
        size = os.fstat(file.fileno()).st_size
        whole = _end_of_lines(file, size)
        if whole < size:
            os.ftruncate(file.fileno(), whole)
            os.fsync(file.fileno())
        mended.add(path)


def _end_of_lines(file: IO[bytes], size: int) -> int:
    """Where the last whole line of `file` ends, looked for from behind."""
    end = size
    while end > 0:
        begin = max(end - _AT_ONCE_BYTES, 0)
        file.seek(begin)
        at = file.read(end - begin).rfind(b"\n")
        if at >= 0:
            return begin + at + 1
        end = begin
    return 0


def _removed(path: Path, folder: Path) -> bool:
    """Removes a file that nobody writes, and the folders that are empty then."""
    try:
        with unwritten(path) as file:
            if file is None:
                return False
            path.unlink(missing_ok=True)
    except OSError:
        return False
    for each in path.parents:
        if each == folder:
            break
        try:
            each.rmdir()
        except OSError:  # there is more in it
            break
    return True


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether nobody else tidies up just now."""
    with (folder / _LOCK).open("wb") as file:
        yield lock(file)
