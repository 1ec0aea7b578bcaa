"""The decoded-photo cache: an epoch never waits for JPEG decoding.

One raw file of uint8 [N, px, px, 3] beside a JSON list of the photos' SHA-256, in DATA/cache. A row is found by its
photo's digest, so a changed photo is never mistaken for its predecessor. Photos are decoded by `counting.decode`:
training sees the very pixels that serving sees.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Final, Self

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
        photos = dict(zip(table["sha256"], table["path"], strict=True))
        digests = sorted(photos)
        which = f"{px}px-{fingerprint(digests)[:12]}"
        folder = data / "cache" / f"{which}-{code_fingerprint(['counting/decode.py', 'photos.py'])[:8]}"
        if not (folder / INDEX).is_file():
            paths = [data / photos[digest] for digest in digests]
            with one_at_a_time(folder):
                if not (folder / INDEX).is_file():  # another process may just have made it
                    for outdated in folder.parent.glob(f"{which}-*"):  # the same photos, decoded by older code
                        shutil.rmtree(outdated)
                    _make(folder, paths, digests, px, workers or cpu_count(), progress)
        return cls(folder, digests, px)

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


def _make(folder: Path, paths: list[Path], digests: list[str], px: int, workers: int, progress: Progress) -> None:
    with atomic_folder(folder) as part:
        _fill(part, paths, px, workers, progress)
        (part / INDEX).write_text(json.dumps(digests))


def _fill(folder: Path, paths: list[Path], px: int, workers: int, progress: Progress) -> None:
    target = folder / PIXELS
    # Written in order rather than through a map: a full disk is then an error here, not a SIGBUS later.
    # Threads do: Pillow decodes and scales without the interpreter lock.
    with (
        storage_errors(target),
        target.open("wb") as file,
        progress.task("cache", total=len(paths), unit="photos") as task,
        ThreadPoolExecutor(workers) as pool,
    ):
        for chunk in _batched(paths, 32 * workers):  # bounded: a map over all would queue decoded photos
            for pixels_hwc in pool.map(_decoded, chunk, repeat(px)):
                file.write(pixels_hwc.data)
                task.advance()


def _decoded(path: Path, px: int) -> NDArray[np.uint8]:
    try:
        return decode(path.read_bytes(), height_px=px, width_px=px)
    except (OSError, PhotoError) as error:
        raise DataError(
            f"{path} can't be read: {error}", hint="Run `bintally check` again: it changed since."
        ) from error


def _batched(paths: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    """`itertools.batched`, which Python 3.11 does not have yet."""
    return (paths[start : start + size] for start in range(0, len(paths), size))
