"""The embedded sample: bins rendered here, then fetched like any folder laid out like the bucket."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bintally.artifacts import code_fingerprint, storage_errors
from bintally.data.rendered import render_source
from bintally.data.sources.folder import FolderSource
from bintally.progress import Progress
from bintally.settings import cache_folder

KEPT: Final = "sample"


def sample_source(*, photos: int, seed: int, progress: Progress) -> FolderSource:
    """A rendered folder from the cache; it is rendered first where the same code has not yet done so."""
    folder = sample_folder(photos=photos, seed=seed)
    with _alone(folder):
        render_source(folder, photos=photos, seed=seed, progress=progress)
    return FolderSource(folder, name=f"sample ({photos} photos, seed {seed})")


def sample_folder(*, photos: int, seed: int) -> Path:
    """Where a sample is kept: its name tells its size, its seed and the code that renders it."""
    code = code_fingerprint(["data/rendered"])[:12]
    return cache_folder() / KEPT / f"{photos}-{seed}-{code}"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process renders a sample; another that wants it waits, and finds it made."""
    if sys.platform == "win32":  # no flock there
        yield
        return
    import fcntl

    lock = folder.with_name(f".{folder.name}.lock")
    with storage_errors(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("wb")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
