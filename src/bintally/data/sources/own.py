"""One's own photos: a CSV of `path,count`, or folders named by count (DIR/3/x.jpg). No bucket, no metadata."""

import asyncio
import hashlib
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path, PurePath

from bintally.data.abid import Label, Labels, is_file_name, parse_labels
from bintally.data.sources.base import Entry, Fetched
from bintally.data.sources.folder import read_file, stamp
from bintally.errors import SourceError
from bintally.photos import PHOTO_SUFFIXES


class OwnPhotosSource:
    """Photos anywhere on this machine, whose counts a table or their folder's name tells."""

    def __init__(self, name: str, root: Path, labels: Mapping[str, Label], notes: Iterable[str] = ()) -> None:
        """`labels` by path, relative to `root` or absolute; `notes` says what could not be used of it."""
        self.name = name
        self._root = root
        self._path_of = dict(zip(ids_of(labels), labels, strict=True))
        self._labels = Labels({known: labels[path] for known, path in self._path_of.items()}, tuple(notes))
        self.ignored: list[str] = []

    async def get(self, key: str) -> Fetched:
        """The photo at path `key`."""
        return Fetched(await read_file(self._root / key))

    async def entries(self) -> AsyncIterator[list[Entry]]:
        """All photos told of, those that are not there included."""
        ids = sorted(self._path_of)
        yield await asyncio.get_running_loop().run_in_executor(None, lambda: [self.entry(known) for known in ids])

    def entry(self, bin_image_id: str) -> Entry:
        """The photo with this id."""
        path = self._path_of.get(bin_image_id)
        if path is None:
            return Entry(bin_image_id, f"{bin_image_id}.jpg")
        try:
            return Entry(bin_image_id, path, version=stamp((self._root / path).stat()))
        except OSError:
            return Entry(bin_image_id, path)

    async def labels(self) -> Labels:
        """The counts told."""
        return self._labels


def table_source(path: Path) -> OwnPhotosSource:
    """The photos of a CSV with the columns `path` and `count`; paths are relative to the CSV.

    Raises:
        SourceError: no such table.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}.", hint="Check the path and its rights.") from error
    table = parse_labels(data, str(path), key="path")
    if not table.by_id:
        raise SourceError(f"{path} names no photo.", hint="Its lines should read path,count.")
    return OwnPhotosSource(str(path.resolve()), path.parent, table.by_id, table.problems)


def counted_folders(folder: Path) -> list[Path]:
    """Those folders in `folder` that are named by a count, such as "3"."""
    return [part for part in sorted(folder.iterdir()) if re.fullmatch("[0-9]{1,9}", part.name) and part.is_dir()]


def folders_source(folder: Path) -> OwnPhotosSource:
    """The photos of DIR/<count>/; other folders' photos are told, not taken."""
    labels: dict[str, Label] = {}
    notes: list[str] = []
    counted = counted_folders(folder)
    for part in sorted(part for part in folder.iterdir() if not part.name.startswith(".")):
        if part not in counted:
            notes.append(f"{part.name} is no folder named by a count")
            continue
        for path in _files_under(part):
            relative = path.relative_to(folder).as_posix()
            if path.suffix.lower() in PHOTO_SUFFIXES:
                labels[relative] = Label(int(part.name), "folder")
            else:
                notes.append(f"{relative} has no suffix of a photo")
    if not labels:
        raise SourceError(f"The folders in {folder} hold no photo.", hint="Put photos of 3 items into folder 3.")
    return OwnPhotosSource(str(folder.resolve()), folder, labels, notes)


def ids_of(paths: Iterable[str]) -> list[str]:
    """An id for each path: its parts without suffix, joined by "_"; with a digest where that is no id or not unique.

    A path always gets the same id, however many others there are, unless one of them looks the same.
    """
    told = list(paths)
    plain = [_plain_id(PurePath(path)) for path in told]
    taken = Counter(plain)
    return [
        name if taken[name] == 1 and is_file_name(name) else f"{name.lstrip('.')[-40:]}-{_digest(path)}"
        for name, path in zip(plain, told, strict=True)
    ]


def _plain_id(path: PurePath) -> str:
    stem = (path.parent / path.stem).parts if path.name else ()
    return "_".join(part for part in stem if part not in {path.anchor, ".."})


def _digest(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()[:12]


def _files_under(folder: Path) -> list[Path]:
    found = [Path(place, name) for place, _, names in os.walk(folder) for name in names if not name.startswith(".")]
    return sorted(found)
