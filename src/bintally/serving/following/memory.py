"""What a service knows of versions across its restarts: the last good one, those it refused, those it died of."""

import logging
from pathlib import Path
from typing import Final

import msgspec

from bintally.artifacts import write_bytes
from bintally.serving.following.wanted import Wanted

FOLDER: Final = "following"

MOST_TRIES: Final = 3
"""How often a version is tried that ended the process with it (memory, a crash of the runtime); then it is refused."""

_KEPT: Final = 50  # refusals

_LOG: Final = logging.getLogger(__name__)


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """The file. `of`: the registry's folder, the model and the alias; the rest goes by the numbers of its changes."""

    of: tuple[str, ...]
    identity: str | None = None  # the registry's
    good: Wanted | None = None
    refused: dict[int, str] = {}  # why
    tried: dict[int, int] = {}  # how often it was begun and neither taken nor refused


class Memory:
    """Kept in `path`, one for each worker. What was kept of another registry, or can't be read, is forgotten.

    `identity`: the registry's; None: it can't be told now. Used by one thread at a time. What can't be written is known
    all the same until the process ends.
    """

    def __init__(self, path: Path, of: tuple[str, ...], identity: str | None) -> None:
        self._path = path
        self._held = _read(path, Held(of=of, identity=identity))

    @property
    def good(self) -> Wanted | None:
        """The version that answered last."""
        return self._held.good

    def why_not(self, change: int) -> str | None:
        """Why the version that this change points to is not tried again; None: it may be tried."""
        if change in self._held.refused:
            return self._held.refused[change]
        if self._held.tried.get(change, 0) >= MOST_TRIES:
            return f"the service ended {MOST_TRIES} times while it tried it"
        return None

    def tries(self, change: int) -> None:
        """Says that a version is about to be tried; one that has answered before needs no such proof.

        Raises:
            StorageError: it can't be written.
        """
        if self.good is None or self.good.change != change:
            self._write(tried=self._tried_but(change) | {change: self._held.tried.get(change, 0) + 1})

    def refuses(self, change: int, why: str) -> None:
        """Says that a version was refused.

        Raises:
            StorageError: it can't be written.
        """
        kept = dict(list({**self._held.refused, change: why}.items())[-_KEPT:])
        self._write(refused=kept, tried=self._tried_but(change))

    def forgives(self, change: int) -> None:
        """Lets a version that was refused be tried again.

        Raises:
            StorageError: it can't be written.
        """
        refused = {key: why for key, why in self._held.refused.items() if key != change}
        self._write(refused=refused, tried=self._tried_but(change))

    def serves(self, good: Wanted) -> None:
        """Says which version answers from now on.

        Raises:
            StorageError: it can't be written.
        """
        tried = self._tried_but(good.change)
        if good != self._held.good or tried != self._held.tried:
            self._write(good=good, tried=tried)

    def _tried_but(self, change: int) -> dict[int, int]:
        return {key: times for key, times in self._held.tried.items() if key != change}

    def _write(self, **changes: object) -> None:
        self._held = msgspec.structs.replace(self._held, **changes)
        write_bytes(self._path, msgspec.json.encode(self._held))


def _read(path: Path, fresh: Held) -> Held:
    try:
        held = msgspec.json.decode(path.read_bytes(), type=Held)
    except FileNotFoundError:
        return fresh
    except (OSError, msgspec.DecodeError) as error:
        _LOG.warning("%s can't be read, and starts anew: %s", path, error)
        return fresh
    is_same = held.of == fresh.of and fresh.identity in (None, held.identity)
    return held if is_same else fresh
