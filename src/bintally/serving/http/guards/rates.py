"""How often somebody may ask: the generic cell rate algorithm (GCRA), a token bucket that keeps one number for each.

That number is the moment at which the bucket would be full again. It is kept in a table of fixed size, in memory that
the workers of a service share, so that a limit holds for all of them together and no number of askers takes more.
"""

import hashlib
import math
import mmap
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bintally.artifacts import storage_errors
from bintally.errors import RequestError
from bintally.serving.reserved import reserve

if sys.platform != "win32":
    import fcntl

_SLOTS: Final = 4096
_PROBES: Final = 8
_SLOT: Final = struct.Struct("=16sd")  # who (a digest), and when their bucket is full
_NOBODY: Final = bytes(16)


class Limit(NamedTuple):
    """`rate` a second on average, `burst` at once."""

    rate: float
    burst: int


class Left(NamedTuple):
    """What may be spent now, and the seconds until all of it may."""

    limit: Limit
    remaining: int
    full_in_s: float


class Slots:
    """Moments by who: in this process's memory, or in the file `shared`. The one who waits least makes room.

    They are of a clock that begins anew with the machine, so the file must not outlive the service.

    Raises:
        StorageError: the file can't be made.
    """

    def __init__(self, shared: Path | None = None) -> None:
        self._file: int | None = None  # open as long as the process lives
        size = _SLOTS * _SLOT.size
        if shared is None:
            self._memory = mmap.mmap(-1, size)
            return
        with storage_errors(shared):
            shared.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(shared, os.O_RDWR | os.O_CREAT, 0o600)
            reserve(self._file, size)
            self._memory = mmap.mmap(self._file, size)

    @contextmanager
    def of(self, who: str) -> Iterator["Slot"]:
        """The slot of `who`, nobody else's while the block runs."""
        digest = hashlib.blake2b(who.encode(), digest_size=16).digest()
        if self._file is not None and sys.platform != "win32":
            fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield self._find(digest)
        finally:
            if self._file is not None and sys.platform != "win32":
                fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _find(self, digest: bytes) -> "Slot":
        first = int.from_bytes(digest[:4])
        least, place = math.inf, 0
        for probe in range(_PROBES):
            at = (first + probe) % _SLOTS * _SLOT.size
            found, full_at = _SLOT.unpack_from(self._memory, at)
            if found == digest:
                return Slot(self._memory, at, digest, full_at)
            if found == _NOBODY:
                return Slot(self._memory, at, digest, 0.0)
            if full_at < least:
                least, place = full_at, at
        return Slot(self._memory, place, digest, 0.0)


class Slot:
    """One place of the table."""

    def __init__(self, memory: mmap.mmap, at: int, digest: bytes, full_at: float) -> None:
        self._memory, self._at, self._digest, self.full_at = memory, at, digest, full_at

    def set(self, full_at: float) -> None:
        """Keeps the moment."""
        _SLOT.pack_into(self._memory, self._at, self._digest, full_at)


class Rates:
    """Buckets in `slots`. `clock` is the same for all processes of a machine, as `time.monotonic` is."""

    def __init__(self, slots: Slots, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._slots, self._clock = slots, clock

    def spend(self, who: str, limit: Limit, amount: int, *, before: int = 0) -> Left:
        """Takes `amount` out of the bucket of `who`; the same request has taken `before` just now.

        More than a bucket holds is taken once it is full, and then owed: the average holds all the same, and a large
        batch is never refused for good.

        Raises:
            RequestError: 429, with the seconds until there is enough.
        """
        now = self._clock()
        each_s, window_s = 1 / limit.rate, limit.burst / limit.rate
        with self._slots.of(who) as slot:
            full_at = max(slot.full_at, now)
            wait_s = full_at + min(amount, limit.burst - before) * each_s - (now + window_s)
            if wait_s > 1e-6:
                raise too_many(limit, wait_s)
            full_at += amount * each_s
            slot.set(full_at)
        return Left(limit, max(int((now + window_s - full_at) / each_s + 1e-6), 0), full_at - now)


def too_many(limit: Limit, wait_s: float) -> RequestError:
    """The refusal of what is above a limit."""
    return RequestError(
        f"That is more than may be asked: {limit.rate:.3g} a second, {limit.burst} at once.",
        status=429,
        code="too_many_requests",
        hint="Send it again after the seconds in Retry-After.",
        retry_after_s=wait_s,
    )


def rate_headers(left: Left) -> list[tuple[bytes, bytes]]:
    """RateLimit-Policy and RateLimit, as draft-ietf-httpapi-ratelimit-headers-10 has them; the unit is photos."""
    limit = left.limit
    policy = f'"photos";q={limit.burst};w={math.ceil(limit.burst / limit.rate)}'
    now = f'"photos";r={left.remaining};t={math.ceil(left.full_in_s)}'
    return [(b"ratelimit-policy", policy.encode()), (b"ratelimit", now.encode())]
