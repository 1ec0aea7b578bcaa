"""The registry as a service has it: looked at twice a second, away for a while, back as another file."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from bintally.errors import BintallyError, StorageError, UsageError
from bintally.registry import deployments, identity, schema
from bintally.registry.place import Registry
from bintally.registry.versions import no_model
from bintally.serving.following.wanted import Seen, Wanted, earlier, newest_changes, seen
from bintally.serving.redaction import scrubbed

WAIT_S: Final = 3.0
"""How long one step waits for a server, and for others who write."""


class Deed(NamedTuple):
    """What the service did with a version, to be recorded."""

    version_id: int
    outcome: deployments.Outcome
    reason: str


class RegistryView:
    """One alias of one model of the registry in `place`; threads share it.

    It is opened when it is needed, and again after a failure. What can't be done with it is a `StorageError`, whatever
    the reason: it is tried again later.
    """

    def __init__(self, place: Path, model: str, alias: str, *, wait_s: float = WAIT_S) -> None:
        self.place, self.model, self.alias = place, model, alias
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._opened: Registry | None = None
        self._file: os.stat_result | None = None  # SQLite's: that it is still the same one
        self._seen: Seen | None = None

    def open(self) -> Registry:
        """The registry.

        Raises:
            UsageError, ConfigError, StorageError, MissingExtraError: as `Registry.open`.
        """
        with self._lock:
            if self._opened is not None and not self._is_same(self._opened):
                self._close()
            if self._opened is None:
                self._opened = Registry.open(self.place, wait_s=self._wait_s)
                self._file = _stat(self._opened)
            return self._opened

    @contextmanager
    def opened(self) -> Iterator[Registry]:
        """The registry for a block. After a failure it is opened anew.

        Raises:
            StorageError: it can't be used.
        """
        try:
            registry = self.open()
        except (UsageError, StorageError) as error:  # none there, or one of another version: for the moment
            raise StorageError(scrubbed(error.message), hint=error.hint) from error
        try:
            yield registry
        except BintallyError as error:
            self._forget(registry)
            raise StorageError(scrubbed(error.message), hint=error.hint) from error
        except (SQLAlchemyError, OSError) as error:
            self._forget(registry)
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise StorageError(scrubbed(reason), hint="Look at the registry's database and folder.") from error

    def look(self) -> Seen:
        """What the aliases say now: one query of an index, unless they were changed.

        Raises:
            StorageError: the registry can't be used.
        """
        with self.opened() as registry, registry.read() as connection:
            changes = newest_changes(connection, self.model, self.alias)
            if self._seen is None or self._seen.changes != changes:
                self._seen = seen(connection, registry, self.alias, changes)
            return self._seen

    def earlier(self) -> list[Wanted]:
        """Versions that the alias pointed to before, the last ones first.

        Raises:
            StorageError: the registry can't be used.
        """
        with self.opened() as registry, registry.read() as connection:
            return earlier(connection, registry, self.model, self.alias)

    def must_have_model(self) -> None:
        """Looks whether there is such a model.

        Raises:
            UsageError: there is not.
            StorageError: the registry can't be used.
        """
        with self.opened() as registry, registry.read() as connection:
            known = select(schema.Model.id).where(schema.Model.name == self.model)
            unknown = no_model(connection, self.model) if connection.execute(known).first() is None else None
        if unknown is not None:
            raise unknown

    def record(self, service: str, deeds: Sequence[Deed]) -> None:
        """Keeps what the service did.

        Raises:
            StorageError: the registry can't be used.
        """
        with self.opened() as registry, registry.write() as connection:
            for deed in deeds:
                deployments.record(connection, deed.version_id, service, deed.outcome, deed.reason)

    def must_be_mounted(self) -> None:
        """Looks whether the folder is there and is a registry's: else what is missing in it is not gone.

        Raises:
            StorageError: it is not.
        """
        try:
            known = identity.of_folder(self.place)
        except OSError as error:
            raise StorageError(f"{self.place} can't be read: {error.strerror}.", hint="Is it mounted?") from error
        if known is None:
            raise StorageError(f"There is no registry in {self.place} just now.", hint="Is it mounted?")

    def close(self) -> None:
        """Closes all connections that nobody uses."""
        with self._lock:
            self._close()

    def _forget(self, registry: Registry) -> None:
        with self._lock:
            if self._opened is registry:
                self._close()

    def _close(self) -> None:
        self._seen = None
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _is_same(self, registry: Registry) -> bool:
        """Whether the database's file is the one that was opened: a deleted one would be read for ever."""
        there = _stat(registry)
        return self._file is None or (there is not None and os.path.samestat(there, self._file))


def _stat(registry: Registry) -> os.stat_result | None:
    if not registry.database.is_sqlite:
        return None
    try:
        return Path(registry.database.engine.url.database or "").stat()
    except OSError:
        return None
