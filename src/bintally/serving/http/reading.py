"""Bodies are read here and nowhere else: as many bytes as there is room for, from a sender who really sends them."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from bintally.errors import RequestError
from bintally.serving.asked import too_late
from bintally.serving.http.headers import single
from bintally.serving.refusals import overloaded

GRACE_S: Final = 5.0
LEAST_BYTES_PER_S: Final = 16 * 1024
"""A body may take `GRACE_S`, and a second more for each so many bytes that came: whoever holds room must use it."""

_RETRY_AFTER_S: Final = 1.0


class Room:
    """Bytes that all bodies under way may have together. One event loop uses it."""

    def __init__(self, size: int) -> None:
        self.size, self.taken = size, 0

    def take(self, size: int) -> None:
        """Takes room for so many bytes more.

        Raises:
            RequestError: 503, there is none just now.
        """
        if self.taken + size > self.size:
            raise overloaded(_RETRY_AFTER_S)
        self.taken += size

    def leave(self, size: int) -> None:
        """Gives it back."""
        self.taken -= size


@asynccontextmanager
async def body_of(
    request: Request, room: Room, *, limit: int, deadline: float, too_large: RequestError | None = None
) -> AsyncIterator[bytes]:
    """The request's body, of at most `limit` bytes (else `too_large`). It has its room until the block ends.

    The room is taken before a byte is read where Content-Length tells how much it will be, else as the body grows.

    Raises:
        RequestError: 400 cut off, 408 too slow, 413 too large, 415 compressed, 503 no room, 504 too late to begin.
    """
    _check_encoding(request)
    reading = _Reading(room, min(limit, room.size), too_large)
    try:
        claimed = _claimed(request)
        reading.expect(claimed)
        yield await reading.read(request, claimed, deadline)
    finally:
        room.leave(reading.reserved)


class _Reading:
    """One body under way."""

    def __init__(self, room: Room, limit: int, too_large: RequestError | None) -> None:
        self._room, self._limit, self._too_large = room, limit, too_large or _body_too_large(limit)
        self.reserved = 0

    def expect(self, size: int) -> None:
        """Makes sure of room for so many bytes in all."""
        if size > self._limit:
            raise self._too_large
        if size > self.reserved:
            self._room.take(size - self.reserved)
            self.reserved = size

    async def read(self, request: Request, claimed: int, deadline: float) -> bytes:
        chunks: list[bytes] = []
        received, started = 0, time.monotonic()
        if started >= deadline:
            raise too_late()
        try:
            async with asyncio.timeout(_left_s(started, received, deadline)) as limit:
                async for chunk in request.stream():
                    received += len(chunk)
                    self.expect(received)
                    chunks.append(chunk)
                    if chunk and received != claimed:  # a timer costs more than all else here
                        limit.reschedule(asyncio.get_running_loop().time() + _left_s(started, received, deadline))
        except TimeoutError:
            raise RequestError(
                f"The body came too slowly: {received} bytes in {time.monotonic() - started:.0f} s.",
                status=408,
                code="slow_body",
                hint="Send it again over a better connection, or send a smaller photo.",
            ) from None
        except ClientDisconnect:
            raise RequestError("The body was cut off.", status=400, code="cut_off", hint="Send it again.") from None
        return chunks[0] if chunks and len(chunks[0]) == received else b"".join(chunks)


def _left_s(started: float, received: int, deadline: float) -> float:
    latest = min(started + GRACE_S + received / LEAST_BYTES_PER_S, deadline)
    return max(latest - time.monotonic(), 0.0)


def _claimed(request: Request) -> int:
    """What Content-Length says; 0 where there is none (chunked)."""
    told = single(request.headers, "content-length")
    if told is None:
        return 0
    if not (told.isascii() and told.isdecimal()):
        raise RequestError(f"The Content-Length {told[:40]!r} is no number.", status=400, code="invalid_request")
    return int(told[:18])


def _check_encoding(request: Request) -> None:
    encoding = (single(request.headers, "content-encoding") or "identity").strip().lower()
    if encoding != "identity":
        raise RequestError(
            f"The content encoding {encoding[:40]!r} is not taken.",
            status=415,
            code="unsupported_content_encoding",
            hint="Send the body as it is: photos are compressed already.",
        )


def _body_too_large(limit: int) -> RequestError:
    return RequestError(
        f"The body has more than {limit / 2**20:.3g} MB.",
        status=413,
        code="body_too_large",
        hint="Scale photos down, or send fewer at once: the model looks at a few hundred pixels a side.",
    )
