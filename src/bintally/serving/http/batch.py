"""Several questions of one request."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from bintally.errors import BintallyError, RequestError
from bintally.serving.answer import CountAnswer
from bintally.serving.asked import Asked
from bintally.serving.http.body import Asking
from bintally.serving.http.errors import FAILED
from bintally.serving.idempotency.question import key_of
from bintally.serving.service import CountingService

AT_ONCE: Final = 8
"""Photos of one request under way: enough to keep the engine busy, few enough that others' photos get in between."""

Answered: TypeAlias = CountAnswer | BintallyError

_log = logging.getLogger(__name__)


async def answers_of(service: CountingService, asking: Sequence[Asking], about: Mapping[str, Any]) -> list[Answered]:
    """What each question came to, in their order; one that is refused spoils no other.

    `about` are the fields of `Asked` that all have; the request id and idempotency key of each get its place.

    Raises:
        RequestError: 400, no idempotency key, or one that is too long with the last place.
    """
    if about["idempotency_key"] is not None:
        about = {**about, "idempotency_key": key_of(about["idempotency_key"])}
        key_of(f"{about['idempotency_key']}/{len(asking) - 1}")
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(place: int, each: Asking) -> Answered:
        async with gate:
            try:
                return await service.count(_asked(each, place, about))
            except BintallyError as error:
                return error
            except Exception:  # a bug: of this answer, not of the others
                _log.exception("photo %d of request %s", place, about["request_id"])
                return RequestError(FAILED.message, status=500, code=FAILED.code, hint=FAILED.hint)

    return await asyncio.gather(*(one(place, each) for place, each in enumerate(asking)))


def _asked(each: Asking, place: int, about: Mapping[str, Any]) -> Asked:
    if isinstance(each, RequestError):
        raise each
    key = about["idempotency_key"]
    own = {"request_id": f"{about['request_id']}.{place}", "idempotency_key": None if key is None else f"{key}/{place}"}
    return each.asked(**{**about, **own})
