"""The bundles of a registry: copied whole and durably under their digests, before the database speaks of them."""

import os
import secrets
import shutil
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, text

from bintally.artifacts import storage_errors, sync_folder
from bintally.bundle import Bundle
from bintally.errors import BundleError, ModelError, StorageError
from bintally.registry.place import Registry
from bintally.signatures.digest import digest_of, files_of
from bintally.signatures.signing import carry

UNDER_WAY: Final = ".registering-"
"""How a folder's name begins while a bundle is copied; what a kill left may be removed."""

_LOCK: Final = 0x62756E64  # "bund": PostgreSQL's name for "one registers or removes at a time"


def no_changes(connection: Connection) -> None:
    """Until the caller's transaction ends, nobody else adds a bundle to the database or removes one from the folder.

    Whoever removes a bundle looks, after this, whether the database needs it; whoever registers one looks, after this,
    whether the folder still has it. SQLite has one writer anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:name)"), {"name": _LOCK})


class Copied:
    """A bundle's copy in the registry that is not yet in its place: what is checked here is what will be served."""

    def __init__(self, registry: Registry, source: Path) -> None:
        self._registry, self._source = registry, source
        self.folder = registry.bundles / f"{UNDER_WAY}{secrets.token_hex(8)}"
        self.sha256 = ""

    def __enter__(self) -> "Copied":
        Bundle.open(self._source)  # says what is wrong before anything is copied
        try:
            with storage_errors(self.folder):
                self.folder.mkdir(parents=True)
                for name in files_of(self._source):
                    _copy(self._source / name, self.folder / name)
            self.sha256 = digest_of(self.folder)
            carry(self._source, self.folder)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def checked(self) -> Bundle:
        """The copy, which has counted a grey photo.

        Raises:
            ModelError: it is no bundle, its network is not the one its card describes, or its answers are no numbers.
        """
        import numpy as np  # a rollback needs neither

        from bintally.counting.counter import Counter

        try:
            counter = Counter(self.folder, threads=1)
            counter.count_pixels(np.full((1, counter.card.height_px, counter.card.width_px, 3), 127, np.uint8))
        except ModelError as error:  # whoever reads it knows the bundle by its own folder
            error.message = error.message.replace(str(self.folder), str(self._source))
            error.hint = error.hint.replace(str(self.folder), str(self._source))
            raise
        return counter.bundle

    def keep(self) -> Path:
        """Gives it its place, unless a whole one is there; returns that. From now on it outlives a power cut."""
        place = self._registry.bundle_of(self.sha256)
        with storage_errors(place):
            if place.is_dir() and not is_whole(place):
                damaged = self._registry.bundles / f"{UNDER_WAY}{secrets.token_hex(8)}"
                place.replace(damaged)
                shutil.rmtree(damaged, ignore_errors=True)
            self._sync()
            try:
                self.folder.replace(place)
            except OSError:  # it is there, maybe since a moment ago
                if not place.is_dir():
                    raise
                carry(self.folder, place)
            try:
                os.utime(place)  # it is not what an old registration left behind
            except FileNotFoundError:
                raise StorageError(f"{place} was removed just now.", hint="Register it again.") from None
            sync_folder(place.parent)
            sync_folder(self._registry.place)
        return place

    def _sync(self) -> None:
        for folder in {self.folder, *(path for path in self.folder.rglob("*") if path.is_dir())}:
            sync_folder(folder)


def is_whole(place: Path) -> bool:
    """Whether a bundle's folder holds what its name says."""
    try:
        return digest_of(place) == place.name
    except (BundleError, OSError):
        return False


def size_of(folder: Path) -> int:
    """Bytes of a bundle's files."""
    return sum((folder / name).stat().st_size for name in files_of(folder))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as read, target.open("xb") as written:
        shutil.copyfileobj(read, written, length=1 << 20)
        written.flush()
        os.fsync(written.fileno())
