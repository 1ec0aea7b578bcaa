"""What the HTTP endpoints share: the service, and how a request becomes the question it asks."""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeVar

from anyio import to_thread
from fastapi import Request
from fastapi.responses import Response

from bintally.serving.answer import CountAnswer
from bintally.serving.asked import JSON_TYPE
from bintally.serving.http.body import PhotoRequest, most_bytes, parse
from bintally.serving.http.headers import IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED, allowed_s, single
from bintally.serving.http.reading import Room, body_of
from bintally.serving.refusals import too_large
from bintally.serving.service import CountingService
from bintally.serving.settings import ServeConfig

_T = TypeVar("_T")
_LARGE: Final = 64 * 1024  # bytes; parsing them takes as long as a change of threads


class House:
    """The service and its settings, as endpoints take them."""

    def __init__(self, service: CountingService, config: ServeConfig) -> None:
        self.service, self.config = service, config
        self.room = Room(config.max_waiting_mb * 2**20)

    def about(self, request: Request) -> dict[str, Any]:
        """The fields of `Asked` that every request has: who asks, by when the answer is wanted, under which name.

        Raises:
            RequestError: 400 or 422, a header that says something twice, or what can't be.
        """
        state = request.scope["state"]
        return {
            "client": state.get("client", ""),
            "request_id": state["request_id"],
            "idempotency_key": single(request.headers, IDEMPOTENCY_KEY),
            "content_type": request.headers.get("content-type", ""),
            "deadline": time.monotonic() + allowed_s(request.headers, self.config.timeout_s),
        }

    def body(
        self, request: Request, kind: str, *, deadline: float, photos: int = 1
    ) -> AbstractAsyncContextManager[bytes]:
        """The request's body of media type `kind`, large enough for so many photos; see `reading.body_of`."""
        most = self.config.max_photo_bytes
        return body_of(
            request,
            self.room,
            limit=most_bytes(kind, max_photo_bytes=most, photos=photos),
            deadline=deadline,
            too_large=too_large(most) if photos == 1 else None,
        )

    async def parsed(self, request: Request, kind: str, data: bytes) -> PhotoRequest:
        """One photo: `data` of media type `kind`, and what the query says of it.

        Raises:
            RequestError: 422, it does not say what is wanted.
        """
        told = request.query_params.multi_items() if request.scope["query_string"] else ()
        return await aside(parse, kind, data, told) if kind == JSON_TYPE else parse(kind, data, told)


async def aside(work: Callable[..., _T], *arguments: Any) -> _T:
    """`work`, in a thread where one of its arguments is so large that others would wait for it."""
    if any(isinstance(each, bytes) and len(each) > _LARGE for each in arguments):
        return await to_thread.run_sync(work, *arguments)
    return work(*arguments)


def counted(answer: CountAnswer, **headers: str) -> Response:
    """An answer as a response. `X-Request-Id` is added by the guards: one that is given again has another's inside."""
    told = {IDEMPOTENCY_REPLAYED: "true"} if answer.replayed else {}
    return Response(answer.to_json(), media_type=JSON_TYPE, headers={**told, **headers})
