"""The decoded-photo cache: an epoch never waits for JPEG decoding.

One raw file of uint8 [N, px, px, 3] beside a JSON list of the photos' SHA-256, in DATA/cache. A row is found by its
photo's digest, so a changed photo is never mistaken for its predecessor. Photos are decoded by `counting.decode`:
training sees the very pixels that serving sees. A cache that holds more photos will do, and a folder that grew has its
old photos' pixels copied from the caches that held them, which then go.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import repeat
from pathlib import Path
from typing import Final, Self, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bintally.artifacts import atomic_folder, code_fingerprint, fingerprint, one_at_a_time, storage_errors
from bintally.counting.decode import decode
from bintally.errors import DataError, PhotoError
from bintally.progress import SILENT, Progress
from bintally.settings import available_memory, cpu_count
from bintally.training import ranks

PIXELS: Final = "pixels.u8"
INDEX: Final = "index.json"

_TRIES: Final = 5

Photos: TypeAlias = dict[str, Path]  # by their digests

_Pixels: TypeAlias = Path | NDArray[np.uint8]  # a photo's file, or what it was decoded to


class PhotoCache:
    """Photos of a data folder as one memory-mapped array."""

    def __init__(self, folder: Path, digests: list[str], px: int) -> None:
        self.px = px
        self._rows = {digest: row for row, digest in enumerate(digests)}
        self._pixels_nhwc = _opened(folder / PIXELS, (len(digests), px, px, 3))

    def __len__(self) -> int:
        return len(self._rows)

    @classmethod
    def build(
        cls, data: Path, table: pl.DataFrame, *, px: int, workers: int | None = None, progress: Progress = SILENT
    ) -> Self:
        """The cache of the photos of `table` (rows of `data`'s manifest) at `px`, made if it is not there yet.

        Raises:
            DataError: a photo can't be decoded, though check let it pass (its file changed since).
            StorageError: the disk is full.
        """
        photos = {digest: data / path for digest, path in zip(table["sha256"], table["path"], strict=True)}
        code = code_fingerprint(["counting/decode.py", "photos.py"])[:8]
        for _ in range(_TRIES):
            with suppress(FileNotFoundError):  # a larger one has just taken another's place
                folder = _with_all_of(data / "cache", photos, px, code)
                if folder is None:
                    folder = _made(data / "cache", photos, px, code, workers or cpu_count(), progress)
                return cls(folder, _index(folder), px)
        raise DataError(f"Others make and remove the caches of {data} all the time.", hint="Run it again.")

    def rows(self, digests: list[str]) -> NDArray[np.int64]:
        """Where the photos with these digests stand."""
        return np.array([self._rows[digest] for digest in digests], dtype=np.int64)

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Photos as uint8 [len(rows), px, px, 3]."""
        # One row after the other: fancy indexing of a map touches the pages in no better order, and is slower.
        pixels_nhwc = np.empty((len(rows), self.px, self.px, 3), dtype=np.uint8)
        for place, row in enumerate(rows):
            pixels_nhwc[place] = self._pixels_nhwc[row]
        return pixels_nhwc


def _opened(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The pixels in memory where they take at most half of what is free (those of all processes here), else mapped.

    A map alone is not enough: an epoch touches each page once in minutes, so a busy machine drops it, and every photo
    then waits for a random read (measured: 14 photos/s fell to 2 beside a job that syncs files).
    """
    if path.stat().st_size * ranks.local_devices() <= available_memory() // 2:
        return np.fromfile(path, dtype=np.uint8).reshape(shape)
    return np.memmap(path, dtype=np.uint8, mode="r", shape=shape)


def _index(folder: Path) -> list[str]:
    digests: list[str] = json.loads((folder / INDEX).read_text())
    return digests


def _held(caches: Path, px: int, code: str) -> Iterator[tuple[Path, list[str]]]:
    """All caches of photos at `px` that this code decoded, with the digests they hold."""
    for index in sorted(caches.glob(f"{px}px-*-{code}/{INDEX}")):
        with suppress(FileNotFoundError):
            yield index.parent, _index(index.parent)


def _with_all_of(caches: Path, photos: Photos, px: int, code: str) -> Path | None:
    """The smallest cache that holds all of `photos`."""
    found = [(len(held), folder) for folder, held in _held(caches, px, code) if photos.keys() <= set(held)]
    return min(found)[1] if found else None


def _made(caches: Path, photos: Photos, px: int, code: str, workers: int, progress: Progress) -> Path:
    """A new cache of `photos`; those that hold nothing else, or what older code decoded of them, are removed."""
    digests = sorted(photos)
    which = f"{px}px-{fingerprint(digests)[:12]}"
    folder = caches / f"{which}-{code}"
    with one_at_a_time(folder):
        if (folder / INDEX).is_file():  # another process has just made it
            return folder
        smaller = {place: held for place, held in _held(caches, px, code) if photos.keys() >= set(held)}
        known: dict[str, NDArray[np.uint8]] = {}
        for place, held in smaller.items():
            pixels_nhwc = np.memmap(place / PIXELS, dtype=np.uint8, mode="r", shape=(len(held), px, px, 3))
            known.update(zip(held, pixels_nhwc, strict=True))
        with atomic_folder(folder) as part:
            _fill(part, [known.get(digest, photos[digest]) for digest in digests], px, workers, progress)
            (part / INDEX).write_text(json.dumps(digests))
        for outdated in {*caches.glob(f"{which}-*"), *smaller} - {folder}:
            shutil.rmtree(outdated, ignore_errors=True)
    return folder


def _fill(folder: Path, sources: Sequence[_Pixels], px: int, workers: int, progress: Progress) -> None:
    target = folder / PIXELS
    # Written in order rather than through a map: a full disk is then an error here, not a SIGBUS later.
    # Threads do: Pillow decodes and scales without the interpreter lock.
    with (
        storage_errors(target),
        target.open("wb") as file,
        progress.task("cache", total=len(sources), unit="photos") as task,
        ThreadPoolExecutor(workers) as pool,
    ):
        for chunk in _batched(sources, 32 * workers):  # bounded: a map over all would queue decoded photos
            for pixels_hwc in pool.map(_pixels, chunk, repeat(px)):
                file.write(pixels_hwc.data)
                task.advance()


def _pixels(source: _Pixels, px: int) -> NDArray[np.uint8]:
    return _decoded(source, px) if isinstance(source, Path) else source


def _decoded(path: Path, px: int) -> NDArray[np.uint8]:
    try:
        return decode(path.read_bytes(), height_px=px, width_px=px)
    except (OSError, PhotoError) as error:
        raise DataError(
            f"{path} can't be read: {error}", hint="Run `bintally check` again: it changed since."
        ) from error


def _batched(sources: Sequence[_Pixels], size: int) -> Iterator[Sequence[_Pixels]]:
    """`itertools.batched`, which Python 3.11 does not have yet."""
    return (sources[start : start + size] for start in range(0, len(sources), size))
