"""A broker's photos can wait: what HTTP would be told to send again later, is asked again here."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

from bintally.errors import RequestError
from bintally.serving.answer import CountAnswer
from bintally.serving.asked import Asked
from bintally.serving.service import CountingService

MAX_TRIES: Final = 5
"""Of a photo that can't be counted in time. One that only found the service busy is asked again as long as it takes."""

_MAX_PAUSE_S: Final = 10.0


class StoppingError(Exception):
    """The service stops; the photo is to be left with the broker."""


async def counted_at_last(
    service: CountingService, ask: Callable[[float], Asked], *, timeout_s: float, expires: float
) -> CountAnswer | None:
    """The answer to `ask(deadline)`; None: it was wanted before `expires` (of `time.monotonic()`), which has passed.

    Raises:
        RequestError: refused, as it is.
        PhotoError: not a photo that can be read.
        StoppingError: the service stops.
    """
    tried = 0
    while (now := time.monotonic()) < expires:
        tried += 1
        try:
            return await service.count(ask(min(now + timeout_s, expires)))
        except RequestError as error:
            pause_s = _pause(error, tried)
            if pause_s is None and time.monotonic() < expires:
                raise
        await asyncio.sleep(min(pause_s or 0.0, max(expires - time.monotonic(), 0.0)))
    return None


def _pause(error: RequestError, tried: int) -> float | None:
    """Seconds until it is worth asking again; None: never."""
    if error.code == "stopping":
        raise StoppingError from None
    if error.retry_after_s is not None:
        return min(error.retry_after_s, _MAX_PAUSE_S) * random.uniform(0.5, 1.5)
    if error.status == 504 and tried < MAX_TRIES:
        return min(0.5 * 2.0**tried, _MAX_PAUSE_S) * random.uniform(0.5, 1.5)
    return None
