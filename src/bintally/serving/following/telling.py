"""What the follower writes down, in order: one thread for the state folder, one for the registry."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from bintally.errors import StorageError
from bintally.registry import heartbeats
from bintally.registry.deployments import Outcome
from bintally.serving.following.memory import Memory
from bintally.serving.following.registry_view import Deed, RegistryView
from bintally.serving.following.wanted import Wanted

MEMORY: Final = "following"
"""Part in health: what is known of versions can't be kept."""

_MOST_DEEDS: Final = 1000  # recorded at once
_LOG: Final = logging.getLogger(__name__)


class Teller:
    """Writes for one follower, whom nothing of it holds up. Used by one event loop."""

    def __init__(self, view: RegistryView, memory: Memory, service: str) -> None:
        self._view, self.memory, self._service = view, memory, service
        self.failures: dict[str, str] = {}
        self._deeds: list[Deed] = []
        self._lock = threading.Lock()  # over them
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="remember")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tell-registry")
        self._telling: asyncio.Future[None] | None = None
        self._beaten = float("-inf")
        self._is_read_only = False

    async def remember(self, write: Callable[[], None]) -> None:
        """Has `memory` written; a disk that takes nothing stands in health."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._disk, write)
        except StorageError as error:
            self.failures[MEMORY] = f"what is known of versions can't be kept: {error.message}"
        else:
            self.failures.pop(MEMORY, None)

    def did(self, wanted: Wanted, outcome: Outcome, reason: str) -> None:
        """Something to be recorded; the registry is told by the next `tell`."""
        with self._lock:
            self._deeds.append(Deed(wanted.version_id, outcome, reason))

    def tell(self, versions: Mapping[str, str], *, now: bool = False) -> None:
        """Records what was done, and from time to time (or `now`) that this service runs with `versions`."""
        is_time = now or time.monotonic() - self._beaten > heartbeats.BEAT_S
        if not (self._deeds or is_time) or (self._telling is not None and not self._telling.done()):
            return
        self._beaten = time.monotonic() if is_time else self._beaten
        beat = dict(versions) if is_time else None
        loop = asyncio.get_running_loop()
        self._telling = loop.run_in_executor(self._thread, lambda: self._told(beat))

    async def end(self, last: Wanted) -> None:
        """Says that `last` answers no more; ends the threads."""
        self.did(last, "left", "the service has ended")
        await asyncio.get_running_loop().run_in_executor(self._thread, self._ended)
        for pool in (self._disk, self._thread):
            await asyncio.to_thread(pool.shutdown)

    def _told(self, versions: Mapping[str, str] | None) -> None:
        """In the thread. A registry that is away is told by whoever looks at it."""
        if versions is not None:
            self._beat(versions)
        with self._lock:
            deeds = self._deeds[:_MOST_DEEDS]
        if not deeds:
            return
        with suppress(StorageError):
            self._view.record(self._service, deeds)
            with self._lock:
                del self._deeds[: len(deeds)]

    def _beat(self, versions: Mapping[str, str]) -> None:
        try:
            self._view.must_be_mounted()
            heartbeats.beat(self._view.place, self._service, versions)
        except StorageError as error:
            if not self._is_read_only:
                _LOG.warning("The registry is not told which versions are in use: %s", error)
            self._is_read_only = True
        else:
            self._is_read_only = False

    def _ended(self) -> None:
        self._told(None)
        with suppress(StorageError):
            heartbeats.ended(self._view.place, self._service)
