"""Who we are to the broker: the same again after a restart, and nobody else at the same time.

A broker keeps unacknowledged photos for the client that they were sent to, by its name. So the name has to outlive a
kill, and two processes must not share it. The state folder has one name, and each process of it takes a number: the
first whose file nobody holds a lock on. A kill lets go of a lock, and the file stays: the broker still keeps photos
under that name, until somebody takes it again, or empties it.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bintally.artifacts import is_at, lock, one_at_a_time, storage_errors, write_text
from bintally.errors import UsageError

MAX_SLOTS: Final = 100  # more than workers may be started
_NAME: Final = "name"
_SUFFIX: Final = ".lock"


class Slot:
    """A name such as "bintally3f9c0a1b22w0", of at most 23 letters and digits, which any broker takes."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self._path = name, path

    def give_up(self) -> None:
        """The broker keeps nothing under the name any more."""
        self._path.unlink(missing_ok=True)


@contextmanager
def own_slot(folder: Path) -> Iterator[Slot]:
    """A name of our own, while the block runs: one that is known to the broker, where it is free.

    Raises:
        StorageError: `folder` can't be written.
        UsageError: too many processes.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    known = _known(folder)
    for number in (*known, *(number for number in range(MAX_SLOTS) if number not in known)):
        with _slot(folder, number) as slot:
            if slot is not None:
                yield slot
                return
    raise UsageError(f"{MAX_SLOTS} processes use {folder}.", hint="Give this one a state folder of its own: `--state`.")


@contextmanager
def left_slot(folder: Path) -> Iterator[Slot | None]:
    """The name of a process that is gone, while the block runs; None: there is none."""
    for number in _known(folder):
        with _slot(folder, number) as slot:
            if slot is not None:
                yield slot
                return
    yield None


def _known(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal())


@contextmanager
def _slot(folder: Path, number: int) -> Iterator[Slot | None]:
    """The slot; None: it is another's."""
    path = folder / f"{number}{_SUFFIX}"
    with storage_errors(folder), path.open("wb") as file:
        is_ours = lock(file) and is_at(path, file)
        yield Slot(f"bintally{_name(folder)}w{number}", path) if is_ours else None


def _name(folder: Path) -> str:
    path = folder / _NAME
    with one_at_a_time(path):
        if not path.exists():
            write_text(path, secrets.token_hex(5))
        return path.read_text()
