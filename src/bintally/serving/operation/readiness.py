"""Whether a service should get requests just now."""

import math
import time
from typing import Final

from bintally.errors import PhotoError, RequestError
from bintally.serving.answer import CountAnswer
from bintally.serving.asked import Asked
from bintally.serving.engine.engine import Load
from bintally.serving.service import CountingService

FAILURES: Final = 3
"""So many questions in a row that failed by our fault: the service can't count."""

STUCK_S: Final = 20.0
"""An engine that has photos and begins with none for so long hangs; one batch takes a second at most."""

RETRY_S: Final = 10.0
"""After so long without another failure it is tried again: nobody would learn that it works if it got no requests."""


class Readiness:
    """A `Watcher` that notices when counting itself fails."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._last_failed = 0.0
        self._batches, self._busy_since = 0, math.inf

    def spent(self, asked: Asked, part: str, seconds: float) -> None:
        """Nothing follows from how long it took."""

    def answered(self, asked: Asked, answer: CountAnswer, seconds: float) -> None:
        """It can count."""
        self._in_a_row = 0

    def refused(self, asked: Asked, error: Exception, seconds: float) -> None:
        """A refusal is no failure."""
        if not isinstance(error, (RequestError, PhotoError)):
            self._in_a_row += 1
            self._last_failed = time.monotonic()

    @property
    def is_failing(self) -> bool:
        """Whether the last questions all failed, the newest of them just now."""
        return self._in_a_row >= FAILURES and time.monotonic() - self._last_failed < RETRY_S

    def is_stuck(self, load: Load) -> bool:
        """Whether an engine hangs, as far as this look at it and those before can tell."""
        now, batches = time.monotonic(), sum(load.batches.values())
        if not load.waiting + load.working:
            self._busy_since = math.inf
        elif batches != self._batches or self._busy_since == math.inf:
            self._busy_since = now
        self._batches = batches
        return now - self._busy_since >= STUCK_S


def unready(service: CountingService) -> str | None:
    """Why `service` should get no requests now, in words; None: it should."""
    if service.is_stopping:
        return "The service is shutting down."
    for watcher in service.parts.watchers:
        if isinstance(watcher, Readiness):
            if watcher.is_failing:
                return "The last counts all failed; the log says why."
            if watcher.is_stuck(service.models.default.load()):
                return f"Photos wait, and none was begun with for {STUCK_S:.0f} seconds."
    return None
