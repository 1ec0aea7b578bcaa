"""Sample photos for the page: from a folder, or a few that the project renders itself."""

import csv
import io
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from bintally.errors import UsageError

SHOWN: Final = 8
_RENDERED_COUNTS: Final = (3, 1, 5, 2, 0, 4, 7, 2)
_TYPES: Final = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}


class Sample(msgspec.Struct, frozen=True):
    """One sample as `GET /samples` lists it; the photo itself is at `/samples/{name}`."""

    name: str
    recorded_count: int | None = None


class Samples:
    """At most `SHOWN` photos of `folder` (or its `bin-images`), spread evenly over their names; rendered ones if None.

    A `labels.csv` in the folder (`id,count`) tells their recorded counts. Rendering waits for the first who asks.

    Raises:
        UsageError: `folder` is none or holds no photo.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._listed: tuple[Sample, ...] | None = None
        self._photos: Mapping[str, Path | bytes] = {}
        if folder is not None:
            self._photos = _photos_of(folder)
            self._listed = _listed(self._photos, folder)

    def all(self) -> tuple[Sample, ...]:
        """The samples, in the order of their names."""
        with self._lock:
            if self._listed is None:
                self._photos, self._listed = _rendered()
            return self._listed

    def photo(self, name: str) -> tuple[bytes, str] | None:
        """A sample's bytes and media type; None where `name` is not one of those listed."""
        self.all()
        photo = self._photos.get(name)
        if photo is None:
            return None
        try:
            data = photo if isinstance(photo, bytes) else photo.read_bytes()
        except OSError:  # it went since it was listed
            return None
        return data, _TYPES[Path(name).suffix.lower()]


def _photos_of(folder: Path) -> dict[str, Path]:
    place = folder / "bin-images" if (folder / "bin-images").is_dir() else folder
    try:
        paths = sorted(path for path in place.iterdir() if path.suffix.lower() in _TYPES and path.is_file())
    except OSError as error:
        raise UsageError(f"{folder} can't be read as a folder: {error.strerror}.", hint=_FOLDER_HINT) from None
    if not paths:
        raise UsageError(f"{folder} holds no photo.", hint=_FOLDER_HINT)
    step = max(len(paths) / SHOWN, 1)
    chosen = [paths[int(index * step)] for index in range(min(SHOWN, len(paths)))]
    return {path.name: path for path in chosen}


def _listed(photos: Mapping[str, Path | bytes], folder: Path) -> tuple[Sample, ...]:
    labels = folder / "labels.csv"
    counts: dict[str, str] = {}
    if labels.is_file():
        with labels.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            counts = {row.get("id") or "": row.get("count") or "" for row in csv.DictReader(file)}
    found = {name: counts.get(Path(name).stem, "") for name in photos}
    return tuple(Sample(name, int(count) if count.isdecimal() else None) for name, count in found.items())


def _rendered() -> tuple[dict[str, bytes], tuple[Sample, ...]]:
    from bintally.data.rendered import render_photo

    photos = {}
    for seed, count in enumerate(_RENDERED_COUNTS):
        file = io.BytesIO()
        render_photo(count, seed=seed).save(file, "JPEG", quality=90)
        photos[f"rendered-{seed}.jpg"] = file.getvalue()
    return photos, tuple(map(Sample, photos, _RENDERED_COUNTS))


_FOLDER_HINT: Final = f"`--samples` wants a folder with photos ({', '.join(_TYPES)})."
