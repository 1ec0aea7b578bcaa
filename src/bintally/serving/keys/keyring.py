"""The keys as a running service knows them: looked up for each request, read anew when the file has changed."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

from bintally.errors import StorageError
from bintally.serving.keys.file import KeyFile
from bintally.serving.keys.key import NOBODY, PRESENTED, Key, sha256_of

LOOKED_AT_EVERY_S: Final = 1.0
_Stamp: TypeAlias = tuple[int, int, int]


class Keyring:
    """Keys by their ids. A file that is damaged or gone while the service runs leaves the last good keys in place.

    Raises:
        StorageError: the file can't be read, or holds something else.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._file, self._clock = KeyFile(path), clock
        self._stamp = self._stamp_now()
        self._keys = {key.id: key for key in self._file.read()}
        self._looked_at = clock()
        self.failure: str | None = None
        """Why the file as it is now was not taken; None: it was."""

    @property
    def is_empty(self) -> bool:
        """Whether there is no key that is taken."""
        now = datetime.now(UTC)
        return all(key.is_expired(now) for key in self._keys.values())

    def find(self, presented: str) -> Key | None:
        """The key that `presented` is the text of; None: none, or one that is expired."""
        self.refresh()
        shape = PRESENTED.fullmatch(presented)
        key = self._keys.get(shape[1], NOBODY) if shape else NOBODY
        now = datetime.now(UTC)
        is_right = key.opens_with(sha256_of(shape[2] if shape else ""), now)
        return key if is_right and not key.is_expired(now) else None

    def refresh(self) -> None:
        """Reads the file anew if it has changed; looks at most once a second."""
        now = self._clock()
        if now - self._looked_at < LOOKED_AT_EVERY_S:
            return
        self._looked_at = now
        stamp = self._stamp_now()
        if stamp == self._stamp:
            self.failure = None  # it may have been away, and put back as it was
            return
        if stamp is None:
            self.failure = f"{self._file.path} is gone; the keys it held are still taken."
            return
        try:
            self._keys = {key.id: key for key in self._file.read()}
        except StorageError as error:
            self.failure = f"{error.message} The keys it held before are still taken."
            return
        self._stamp, self.failure = stamp, None

    def _stamp_now(self) -> _Stamp | None:
        """What changes when the file is replaced or written to."""
        try:
            seen = os.stat(self._file.path)  # noqa: PTH116 - a third of Path.stat's time, on the hot path
        except OSError:
            return None
        return seen.st_mtime_ns, seen.st_ino, seen.st_size
