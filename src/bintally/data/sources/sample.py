"""The embedded sample: bins rendered here, then fetched like any folder laid out like the bucket."""

from pathlib import Path
from typing import Final

from bintally.artifacts import code_fingerprint, one_at_a_time
from bintally.data.rendered import render_source
from bintally.data.sources.folder import FolderSource
from bintally.progress import Progress
from bintally.settings import cache_folder

KEPT: Final = "sample"


def sample_source(*, photos: int, seed: int, progress: Progress) -> FolderSource:
    """A rendered folder from the cache; it is rendered first where the same code has not yet done so."""
    folder = sample_folder(photos=photos, seed=seed)
    with one_at_a_time(folder):
        render_source(folder, photos=photos, seed=seed, progress=progress)
    return FolderSource(folder, name=f"sample ({photos} photos, seed {seed})")


def sample_folder(*, photos: int, seed: int) -> Path:
    """Where a sample is kept: its name tells its size, its seed and the code that renders it."""
    code = code_fingerprint(["data/rendered"])[:12]
    return cache_folder() / KEPT / f"{photos}-{seed}-{code}"
