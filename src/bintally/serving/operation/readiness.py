"""Whether a service should get requests just now."""

import time
from typing import Final

from bintally.errors import PhotoError, RequestError
from bintally.serving.answer import CountAnswer
from bintally.serving.asked import Asked
from bintally.serving.service import CountingService

FAILURES: Final = 3
"""So many questions in a row that failed by our fault: the service can't count."""

RETRY_S: Final = 10.0
"""After so long without another failure it is tried again: nobody would learn that it works if it got no requests."""


class Readiness:
    """A `Watcher` that notices when counting itself fails."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._last_failed = 0.0

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


def unready(service: CountingService) -> str | None:
    """Why `service` should get no requests now, in words; None: it should."""
    if service.is_stopping:
        return "The service is shutting down."
    if any(isinstance(watcher, Readiness) and watcher.is_failing for watcher in service.parts.watchers):
        return "The last counts all failed; the log says why."
    return None
