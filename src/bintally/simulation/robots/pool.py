"""Photos that are made before the drive, so that making them is no part of the load.

A service knows a photo by its bytes, so every one that is sent gets bytes of its own: its name, as a JPEG comment.
"""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from bintally.counting.inputs import expand
from bintally.data.rendered import render_bin
from bintally.errors import UsageError
from bintally.photos import open_image, read_photo
from bintally.progress import SILENT, Progress

RENDERED: Final = 64
MOST: Final = 500
_QUALITY: Final = 90
_RECORDED: Final = (1, 2, 3, 4, 5)  # of photos that nobody has a record of


class Picture(msgspec.Struct, frozen=True):
    """A JPEG's bytes, and what the stock record says of its bin."""

    jpeg: bytes
    recorded_count: int


class Pool:
    """The pictures that robots take.

    Raises:
        UsageError: there is none.
    """

    def __init__(self, pictures: Iterable[Picture]) -> None:
        self._pictures = tuple(pictures)
        if not self._pictures:
            raise UsageError("There are no photos to send.", hint="Name a folder of photos, or leave --photos out.")

    def __len__(self) -> int:
        return len(self._pictures)

    @classmethod
    def rendered(cls, *, seed: int = 0, photos: int = RENDERED, progress: Progress = SILENT) -> "Pool":
        """Bins that are rendered, each with its record, which is wrong at a known rate."""
        pictures = []
        with progress.task("render", total=photos, unit="photos") as task:
            for index in range(photos):
                photo = next(iter(render_bin(index, seed=seed, photos=1)))
                pictures.append(Picture(photo.jpeg, photo.record.recorded_count))
                task.advance()
        return cls(pictures)

    @classmethod
    def of_folder(cls, folder: Path) -> "Pool":
        """The first photos of a folder (500 at most), by name; what is no JPEG becomes one.

        Raises:
            UsageError: there is no such folder.
            DataError: it has no photo, or one that can't be read.
        """
        names = expand([folder])[:MOST]
        return cls(Picture(_jpeg(Path(name)), _RECORDED[place % len(_RECORDED)]) for place, name in enumerate(names))

    def recorded_count(self, picture: int) -> int:
        """What the record says of a picture's bin."""
        return self._pictures[picture].recorded_count

    def photo(self, picture: int, name: str, *, is_damaged: bool = False) -> bytes:
        """The picture's bytes under `name`; damaged, they end in the middle."""
        jpeg = self._pictures[picture].jpeg
        if is_damaged:
            jpeg = jpeg[: len(jpeg) // 2]
        place = 4 + int.from_bytes(jpeg[4:6], "big")  # after the first segment, which JFIF and EXIF want to be first
        comment = name.encode()
        return b"".join((jpeg[:place], b"\xff\xfe", (len(comment) + 2).to_bytes(2, "big"), comment, jpeg[place:]))


def _jpeg(path: Path) -> bytes:
    photo = read_photo(path)
    if photo.startswith(b"\xff\xd8\xff"):
        return photo
    file = io.BytesIO()
    open_image(photo).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
