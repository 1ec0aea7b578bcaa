"""One run at a time in a workspace. The system takes the lock from a process however it ends."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from bintally.artifacts import storage_errors
from bintally.errors import ConflictError

LOCK: Final = ".pipeline.lock"

_TRIES, _PAUSE_S = 10, 0.05  # whoever only looks holds it for a moment


@contextmanager
def alone(workspace: Path, *, who: str) -> Iterator[None]:
    """The workspace's only run, until the block ends; `who` is told to others.

    Raises:
        ConflictError: there is another one.
        StorageError: the workspace can't be written.
    """
    path = workspace / LOCK
    with storage_errors(path):
        workspace.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b", buffering=0)
    with file:
        if not _taken(file):
            raise ConflictError(_busy(file, workspace), hint="Wait for it, or choose another --workspace.")
        with storage_errors(path):
            file.truncate(0)
            file.write(who.encode())
        yield


def is_held(workspace: Path) -> bool:
    """Whether a run is under way in a workspace."""
    try:
        file = (workspace / LOCK).open("rb", buffering=0)
    except OSError:
        return False
    with file:
        return not _lock(file, shared=True)


def _taken(file: IO[bytes]) -> bool:
    for _ in range(_TRIES):
        if _lock(file):
            return True
        time.sleep(_PAUSE_S)
    return False


def _lock(file: IO[bytes], *, shared: bool = False) -> bool:
    if sys.platform == "win32":  # no flock there
        return True
    import fcntl

    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _busy(file: IO[bytes], workspace: Path) -> str:
    file.seek(0)
    return f"{file.read().decode(errors='replace') or 'Somebody'} is running the pipeline in {workspace}."
