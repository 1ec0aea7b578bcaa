"""Who is answering a question just now: a process, by a file that it holds locked for as long as it lives.

The system takes the lock (`flock`) from a process however it ends, `kill -9` included. A process id would not do: it is
given to another process sooner or later, and in two containers it means two processes.
"""

import sys
import uuid
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from bintally.artifacts import is_at, lock
from bintally.monitoring.files import unwritten

_SUFFIX: Final = ".owner"
_TRIES: Final = 3


class Owner:
    """This process, among those that use `folder`."""

    def __init__(self, folder: Path, name: str, file: IO[bytes]) -> None:
        self._folder, self.name, self._file = folder, name, file

    @classmethod
    def enter(cls, folder: Path) -> "Owner":
        """Makes this process known in `folder`, and forgets those that died.

        Raises:
            OSError: the folder can't be written.
        """
        for path in folder.glob(f"*{_SUFFIX}"):
            with unwritten(path) as left:
                if left is not None:
                    path.unlink(missing_ok=True)
        for _ in range(_TRIES):
            name = uuid.uuid4().hex
            path = folder / f"{name}{_SUFFIX}"
            file = path.open("xb")
            if lock(file) and is_at(path, file):  # or another one that enters took it for a dead one's
                return cls(folder, name, file)
            file.close()
        raise BlockingIOError(f"{folder} is taken.")

    @property
    def is_there(self) -> bool:
        """Whether others can still see that this process lives."""
        return is_at(self._path(self.name), self._file)

    def is_alive(self, name: str) -> bool:
        """Whether the process of that name lives; this one does not count as another."""
        if name == self.name or sys.platform == "win32":  # no flock there, and one process only
            return False
        with suppress(OSError), unwritten(self._path(name)) as left:
            return left is None and self._path(name).exists()
        return False

    def leave(self) -> None:
        """Is gone."""
        self._path(self.name).unlink(missing_ok=True)
        self._file.close()

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{_SUFFIX}"
