"""Photos' bytes go into a bundle, if they are the ones that were taken in."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bintally.artifacts import write_bytes
from bintally.inventory.evidence.facts import Photo
from bintally.inventory.evidence.layout import photo_file
from bintally.inventory.kept_photos import suffix_of


class PhotoStore:
    """The photos of a bundle in `folder`. `kept`: where the ledger's photos are, if they have moved since."""

    def __init__(self, folder: Path, kept: Path | None) -> None:
        self._folder, self._kept = folder, kept
        self.files: dict[str, str] = {}  # SHA-256 by name
        self.removed: set[str] = set()
        self.missing: set[str] = set()  # or damaged

    def put(self, photo: Photo, place: str | None) -> tuple[Photo, bytes | None]:
        """A photo with what became of it, and its bytes, if they are in the bundle now."""
        if place is None:
            state = "removed" if photo.removed_at is not None else "missing"
            (self.removed if state == "removed" else self.missing).add(photo.sha256)
            return msgspec.structs.replace(photo, state=state), None
        read = self._read(photo, place)
        if read is None or hashlib.sha256(read).hexdigest() != photo.sha256:
            self.missing.add(photo.sha256)
            return msgspec.structs.replace(photo, state="missing" if read is None else "damaged"), None
        name = photo_file(photo.sha256, suffix_of(read))
        if name not in self.files:
            write_bytes(self._folder / name, read, durable=False)
            self.files[name] = photo.sha256
        return msgspec.structs.replace(photo, state="included", file=name), read

    def _read(self, photo: Photo, place: str) -> bytes | None:
        for path in self._places(photo, place):
            try:
                if path.is_file():
                    return path.read_bytes()
            except OSError:  # as good as gone: the bundle says so
                continue
        return None

    def _places(self, photo: Photo, place: str) -> Iterator[Path]:
        yield Path(place)
        if self._kept is not None:
            yield self._kept / photo.sha256[:2] / Path(place).name
            yield self._kept.parent / place
