"""Where photos of a ledger lie: a folder of files that are named by the SHA-256 of their bytes."""

import hashlib
from pathlib import Path
from typing import Final

from bintally.artifacts import storage_errors, sync_folder, write_bytes
from bintally.errors import UsageError
from bintally.inventory.ledger import Ledger

FOLDER: Final = "photos"
_SUFFIXES: Final = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG", ".png"),
    (b"RIFF", ".webp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
)


def photos_folder(ledger: Ledger) -> Path:
    """Where photos are kept, where nothing else is said.

    Raises:
        UsageError: the ledger is on a server.
    """
    database = ledger.database
    if not database.is_sqlite or database.engine.url.database is None:
        raise UsageError(
            f"Nobody said where photos of {database.name} are kept.", hint="Name a folder for them: --photos FOLDER."
        )
    return Path(database.engine.url.database).resolve().parent / FOLDER


def keep(data: bytes, folder: Path) -> Path:
    """A photo's bytes as FOLDER/ab/abcdef...jpg, by their SHA-256; a file of that name and size is there already."""
    sha256 = hashlib.sha256(data).hexdigest()
    place = folder.resolve() / sha256[:2] / f"{sha256}{suffix_of(data)}"
    with storage_errors(place):
        if not (place.is_file() and place.stat().st_size == len(data)):
            write_bytes(place, data)
            sync_folder(place.parent)
    return place


def suffix_of(data: bytes) -> str:
    """A photo's suffix, by what it begins with."""
    return next((suffix for magic, suffix in _SUFFIXES if data.startswith(magic)), ".photo")
