"""The ledger as a service has it: it may be away when the service starts, go away, and come back as another file."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from bintally.errors import StorageError, UsageError
from bintally.inventory.ledger import LEDGER, Ledger

WAIT_S: Final = 3.0
"""How long one step waits for a server, and for others who write. Less than a request waits for all its steps."""


class LedgerPlace:
    """A ledger by its file, folder or URL, opened when it is needed and again after a failure; threads share it.

    What can't be done with it is a `StorageError`, whatever the reason: it is tried again later.
    """

    def __init__(self, place: str, *, wait_s: float = WAIT_S) -> None:
        self._place, self._wait_s = place, wait_s
        self._lock = threading.Lock()
        self._opened: Ledger | None = None
        self._file: os.stat_result | None = None  # SQLite's: that it is still the same one

    def check(self) -> None:
        """Looks whether it can be read.

        Raises:
            StorageError: it can't.
        """
        with self.opened() as ledger, ledger.read() as connection:
            connection.execute(text("SELECT 1"))

    def open(self) -> Ledger:
        """The ledger, of the version that this bintally knows.

        Raises:
            UsageError, StorageError, MissingExtraError: as `Ledger.open`.
        """
        with self._lock:
            if self._opened is not None and not self._is_same():
                self._close()
            if self._opened is None:
                self._opened = Ledger.open(self._place, wait_s=self._wait_s)
                self._file = self._stat()
            return self._opened

    @contextmanager
    def opened(self) -> Iterator[Ledger]:
        """The ledger for a block. After a failure it is opened anew, and its version looked at again.

        Raises:
            StorageError: it can't be used.
        """
        try:
            ledger = self.open()
        except (UsageError, StorageError) as error:  # no ledger there, or one of another version: for the moment
            raise StorageError(error.message, hint=error.hint) from error
        try:
            yield ledger
        except SQLAlchemyError as error:
            self._forget(ledger)
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise StorageError(
                f"{ledger.database.name} can't be used: {reason}.", hint="Look at the database."
            ) from error
        except StorageError:
            self._forget(ledger)
            raise

    def close(self) -> None:
        """Closes all connections that nobody uses."""
        with self._lock:
            self._close()

    def _forget(self, ledger: Ledger) -> None:
        with self._lock:
            if self._opened is ledger:
                self._close()

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _is_same(self) -> bool:
        """Whether the file at the place is the one that was opened: what is written to a deleted one is lost."""
        there = self._stat()
        return self._file is None or (there is not None and os.path.samestat(there, self._file))

    def _stat(self) -> os.stat_result | None:
        if "://" in self._place:
            return None
        path = Path(self._place)
        try:
            return (path / LEDGER if path.is_dir() else path).stat()
        except OSError:
            return None


def check_photos_folder(place: str, photos: Path | None) -> None:
    """That somebody said where photos of a ledger on a server are kept.

    Raises:
        UsageError: nobody did.
    """
    if photos is None and "://" in place and not place.startswith("sqlite"):
        raise UsageError(
            "Nobody said where photos of a ledger on a server are kept.",
            hint="Name their folder: BINTALLY_SERVE_PHOTOS=FOLDER.",
        )
