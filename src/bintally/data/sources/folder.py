"""A folder laid out like the bucket: bin-images/<id>.jpg, metadata/<id>.json, and labels.csv if there is one."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from bintally.data.abid import LABELS, METADATA, PHOTOS, Labels, is_file_name, parse_labels
from bintally.data.sources.base import Entry, Fetched, ObjectBrokenError, ObjectMissingError
from bintally.errors import SourceError
from bintally.photos import PHOTO_SUFFIXES


class FolderSource:
    """Photos in a local folder; `bin-images` and the photos may be links."""

    def __init__(self, folder: Path, *, name: str | None = None) -> None:
        self._folder = folder
        self.name = name or str(folder.resolve())
        self.ignored: list[str] = []
        self._listed: dict[str, Entry] | None = None

    async def get(self, key: str) -> Fetched:
        """The file `key` of the folder."""
        return Fetched(await read_file(self._folder / key))

    async def entries(self) -> AsyncIterator[list[Entry]]:
        """All photos as one page: a folder of half a million is listed in seconds."""
        yield list(self._entries().values())

    def entry(self, bin_image_id: str) -> Entry:
        """The photo with this id, whatever its suffix; the place it should be in when there is none."""
        return self._entries().get(bin_image_id) or bucket_entry(bin_image_id)

    async def labels(self) -> Labels:
        """The folder's labels.csv; none where there is no such file."""
        path = self._folder / LABELS
        return parse_labels(path.read_bytes(), str(path)) if path.is_file() else Labels()

    def _entries(self) -> dict[str, Entry]:
        if self._listed is None:
            self._listed = self._list()
        return self._listed

    def _list(self) -> dict[str, Entry]:
        records = _stamps(self._folder / METADATA) if (self._folder / METADATA).is_dir() else {}
        entries: dict[str, Entry] = {}
        for name, stamped in sorted(_stamps(self._folder / PHOTOS).items()):
            known, _, suffix = name.rpartition(".")
            if f".{suffix.lower()}" not in PHOTO_SUFFIXES or not is_file_name(known):
                self.ignored.append(f"{PHOTOS}/{name} has no name of a photo")
            elif known in entries:
                self.ignored.append(f"{PHOTOS}/{name} has the id of {entries[known].photo}")
            else:
                record = f"{known}.json"
                version = f"{stamped}+{records.get(record, '')}"
                entries[known] = Entry(known, f"{PHOTOS}/{name}", f"{METADATA}/{record}", version)
        return dict(sorted(entries.items()))


def bucket_entry(bin_image_id: str) -> Entry:
    """Where the public bucket keeps a bin's photo and record."""
    return Entry(bin_image_id, f"{PHOTOS}/{bin_image_id}.jpg", f"{METADATA}/{bin_image_id}.json")


async def read_file(path: Path) -> bytes:
    """A local file's bytes; slow disks and network drives don't hold up the other reads."""
    try:
        return await asyncio.get_running_loop().run_in_executor(None, path.read_bytes)
    except (FileNotFoundError, NotADirectoryError):
        raise ObjectMissingError(f"no file {path}") from None
    except OSError as error:
        raise ObjectBrokenError(f"{error.strerror or error}", passing=False) from error


def _stamps(folder: Path) -> dict[str, str]:
    """Size and time of change of each file: together they tell when one was replaced."""
    try:
        with os.scandir(folder) as files:
            return dict(_stamped(file) for file in files)
    except OSError as error:
        raise SourceError(f"{folder} can't be listed: {error.strerror}.", hint="Check its rights.") from error


def _stamped(file: os.DirEntry[str]) -> tuple[str, str]:
    """A folder's name ends with "/", which no photo's does. A link that leads nowhere is there, and will be missing."""
    if file.is_dir():
        return f"{file.name}/", ""
    try:
        return file.name, stamp(file.stat())
    except OSError:
        return file.name, ""


def stamp(stat: os.stat_result) -> str:
    """A file's size in bytes and its time of change in nanoseconds."""
    return f"{stat.st_size}-{stat.st_mtime_ns}"
