"""`serving.service.Fetcher`: photos by URL, a few at a time, in threads."""

import time
from collections.abc import Sequence
from typing import Final

from anyio import CapacityLimiter, to_thread

from bintally.serving.fetching.hosts import TIME_LIMIT_S, AllowedHosts

AT_ONCE: Final = 8


class HostFetcher:
    """Fetches from `hosts` only.

    Raises:
        UsageError: a host that is none.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = AllowedHosts(hosts)
        self._limiter: CapacityLimiter | None = None

    async def fetch(self, url: str, *, max_bytes: int, deadline: float | None) -> bytes:
        """As `Fetcher.fetch`."""
        if self._limiter is None:  # made where its event loop runs
            self._limiter = CapacityLimiter(AT_ONCE)
        limit_s = TIME_LIMIT_S if deadline is None else min(TIME_LIMIT_S, max(deadline - time.monotonic(), 0.001))
        return await to_thread.run_sync(
            lambda: self._hosts.fetch(url, max_bytes=max_bytes, limit_s=limit_s), limiter=self._limiter
        )
