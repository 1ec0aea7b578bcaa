"""What a data folder already has from its source: the memory that lets a killed fetch go on.

`.fetch.journal` has a line of JSON for each photo, appended after its files have their final names. A kill can lose a
line (its photo is fetched again, over the same bytes) or tear the last one (it is not read), but no line ever speaks of
a file that is not whole. Photos are not synced one by one, which would take longer than fetching them: a power cut may
lose the last seconds' files, and their sizes tell.
"""

import errno
import os
import sys
from pathlib import Path
from typing import IO, Final, Self

import msgspec

from bintally.artifacts import sha256_of, storage_errors
from bintally.errors import UsageError

JOURNAL: Final = ".fetch.journal"


class Stamp(msgspec.Struct, frozen=True):
    """A photo as it was written here."""

    name: str
    size_bytes: int
    mtime_ns: int
    sha256: str


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of one photo; a later line of the same id replaces an earlier one."""

    id: str
    version: str | None = None  # of the source's objects when they were fetched
    quantity: int | None = None  # as the metadata says
    metadata_bytes: int | None = None  # size of the metadata file here; None: there is none
    photo: Stamp | None = None


class _Header(msgspec.Struct, frozen=True):
    source: str


class Journal:
    """The journal of one folder, held open by one fetch at a time."""

    def __init__(self, file: IO[bytes], lines: dict[str, Line]) -> None:
        self._file = file
        self._lines = lines

    @classmethod
    def open(cls, folder: Path, source: str) -> Self:
        """Opens or begins the journal of `folder`.

        Raises:
            UsageError: another fetch is at work there, or the folder holds another source's photos.
            StorageError: the folder can't be written.
        """
        path = folder / JOURNAL
        with storage_errors(path):
            folder.mkdir(parents=True, exist_ok=True)
            file = path.open("a+b", buffering=0)
        try:
            _lock(file, folder)
            file.seek(0)
            written = file.read()
            whole = written[: written.rfind(b"\n") + 1]
            file.truncate(len(whole))  # a line torn by a kill
            header, *rest = whole.splitlines() or [b""]
            if header:
                _check_header(header, source, folder)
            else:
                file.write(msgspec.json.encode(_Header(source)) + b"\n")
            return cls(file, {line.id: line for line in map(_LINE.decode, rest)})
        except msgspec.DecodeError as error:
            file.close()
            raise UsageError(f"{path} was edited: {error}.", hint="Delete it, and all is fetched again.") from error
        except BaseException:
            file.close()
            raise

    def line(self, bin_image_id: str, version: str | None) -> Line | None:
        """What is known of a photo, if the source's `version` is still the same."""
        line = self._lines.get(bin_image_id)
        return line if line and line.version == version else None

    def add(self, line: Line) -> None:
        """Writes a line down; safe to call from several threads, as appending a short line is one system call."""
        with storage_errors(Path(self._file.name)):
            data = msgspec.json.encode(line) + b"\n"
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._lines[line.id] = line

    def close(self) -> None:
        """Lets another fetch at the folder."""
        self._file.close()


def is_kept(stamp: Stamp, folder: Path) -> bool:
    """Whether the photo lies in `folder` as it was written: same size and time, or at least the same bytes."""
    path = folder / stamp.name
    try:
        stat = path.stat()
        same_time = stat.st_mtime_ns == stamp.mtime_ns
        return stat.st_size == stamp.size_bytes and (same_time or sha256_of(path) == stamp.sha256)
    except OSError:
        return False


_LINE = msgspec.json.Decoder(Line)


def _check_header(header: bytes, source: str, folder: Path) -> None:
    held = msgspec.json.decode(header, type=_Header).source
    if held != source:
        raise UsageError(f"{folder} holds photos from {held}, not from {source}.", hint="Choose another --out.")


def _lock(file: IO[bytes], folder: Path) -> None:
    if sys.platform == "win32":  # no flock there
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"Another fetch is writing to {folder}.", hint="Wait for it.") from None
