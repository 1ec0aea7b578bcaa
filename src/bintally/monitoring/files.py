"""Files that one process writes and others look after: folders that last, locks that go with their owner."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from bintally.artifacts import lock, storage_errors, sync_folder
from bintally.errors import StorageError


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Any error of the operating system as a `StorageError`: a disk that fails in an unknown way is gone, too."""
    try:
        with storage_errors(path):
            yield
    except OSError as error:
        raise StorageError(
            f"{path} can't be written: {error.strerror or error}.", hint="Look at the disk and its folder."
        ) from error


def make_folder(folder: Path) -> None:
    """Makes `folder`, so that it outlasts a power cut."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync_folder(each.parent)


@contextmanager
def unwritten(path: Path) -> Iterator[IO[bytes] | None]:
    """An open file that nobody writes just now; None: it is gone, or somebody does."""
    file = None
    with suppress(FileNotFoundError):
        file = path.open("r+b", buffering=0)
    if file is None:
        yield None
        return
    with file:
        yield file if lock(file) else None
