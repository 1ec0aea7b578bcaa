"""When a call is tried again: what may pass is, until the call's time is over; what is refused for good is not."""

import random
import time
from typing import Final

import httpx2

from bintally.errors import RequestError

RETRIES: Final = 8
TIMEOUT_S: Final = 30.0

_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 5.0
_CONNECT_S: Final = 5.0
_PASSING: Final = frozenset({429, 502, 503, 504})


class Patience:
    """What is left of one call's time and tries."""

    def __init__(self, *, timeout_s: float, retries: int) -> None:
        self._timeout_s, self._deadline = timeout_s, time.monotonic() + timeout_s
        self._retries, self._tried = retries, 0

    @property
    def left_s(self) -> float:
        """Seconds that the call has left."""
        return max(self._deadline - time.monotonic(), 0.001)

    @property
    def timeout(self) -> httpx2.Timeout:
        """The limits of the next try."""
        return httpx2.Timeout(self.left_s, connect=min(self.left_s, _CONNECT_S))

    def check_time(self) -> None:
        """Looks whether there is any left: `timeout` is one of each step, of which an answer may have many.

        Raises:
            httpx2.ReadTimeout: there is none.
        """
        if time.monotonic() >= self._deadline:
            raise httpx2.ReadTimeout("")

    def pause_s(self, error: RequestError) -> float:
        """Seconds to wait before the next try.

        Raises:
            RequestError: `error`, where there is no use in another or no time for it.
        """
        self._tried += 1
        may_pass = error.status in _PASSING or error.retry_after_s is not None
        if not may_pass or self._tried > self._retries:
            raise error
        pause = min(_FIRST_PAUSE_S * 2.0 ** (self._tried - 1), _LONGEST_PAUSE_S) * random.uniform(0.5, 1)
        pause = max(pause, (error.retry_after_s or 0.0) * random.uniform(1, 1.2))  # later, so that not all come at once
        if pause >= self.left_s:
            raise error
        return pause

    def failure(self, error: httpx2.TransportError, url: httpx2.URL) -> RequestError:
        """What a try that got no answer means. The status and the code are ours: nobody answered."""
        failure = self._failure(error, url)
        failure.__cause__ = error
        return failure

    def _failure(self, error: httpx2.TransportError, url: httpx2.URL) -> RequestError:
        place = f"{url.host}:{url.port}" if url.port else url.host
        if isinstance(error, httpx2.TimeoutException) and not isinstance(error, httpx2.ConnectTimeout):
            return RequestError(
                f"{place} did not answer within {self._timeout_s:g} seconds.",
                status=504,
                code="timeout",
                hint="Allow more with timeout_s, or ask for less at once.",
            )
        why = str(error).removesuffix(".") or type(error).__name__
        return RequestError(
            f"{place} can't be reached: {why}.",
            status=503,
            code="unreachable",
            hint="Is the service running there? Is the address right?",
        )
