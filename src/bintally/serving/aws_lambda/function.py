"""The function: one service for all invocations of a process, which Lambda freezes in between.

Keys are not asked for: IAM, or API Gateway's keys and usage plans, decide who may call.
"""

import asyncio
import logging
import math
import os
import time
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, Protocol

import msgspec

from bintally.errors import BintallyError, RequestError
from bintally.serving.answer import CountAnswer
from bintally.serving.asked import JSON_TYPE
from bintally.serving.assembly import build, running
from bintally.serving.aws_lambda.buckets import photo_in
from bintally.serving.aws_lambda.events import Direct, Event, Http, NewObject, Notified, S3Object, event_of, no_other
from bintally.serving.http.body import PhotoRequest, media_type, parse
from bintally.serving.refusals import ErrorAnswer, detail_of
from bintally.serving.settings import ServeConfig

_SPARE_S: Final = 0.5  # of the invocation's time, for the answer's way out
_OURS: Final = "The service failed on this event."
_log = logging.getLogger(__name__)


class Context(Protocol):
    """What Lambda tells of an invocation; only what is used."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends it."""


class Function:
    """A service, and the event loop that it lives in."""

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._service = build(config)
        self._runner, self._stack = asyncio.Runner(), AsyncExitStack()
        self._runner.run(self._stack.enter_async_context(running(self._service, config)))

    def close(self) -> None:
        """Ends it; Lambda itself never does."""
        self._runner.run(self._stack.aclose())
        self._runner.close()

    def __call__(self, event: object, context: Context) -> dict[str, Any]:
        """Answers one invocation."""
        return self._runner.run(self._answered(event, _about(self._config, context)))

    async def _answered(self, event: object, about: dict[str, Any]) -> dict[str, Any]:
        if isinstance(event, dict) and event.get("Event") == "s3:TestEvent":  # a bucket was connected
            return {"results": []}
        try:
            what = event_of(event)
        except RequestError as error:
            is_http = isinstance(event, dict) and ("httpMethod" in event or "rawPath" in event)
            return _response(error, about) if is_http else _plain(error)
        return await self._done(what, about)

    async def _done(self, what: Event, about: dict[str, Any]) -> dict[str, Any]:
        match what:
            case Http():
                return await self._http(what, about)
            case Direct():
                return _plain(await self._outcome(self._direct(what, about)))
            case Notified():
                parts = [about | {"request_id": f"{about['request_id']}-{n}"} for n in range(len(what.objects))]
                return {"results": [await self._notified(*each) for each in zip(what.objects, parts, strict=True)]}

    async def _http(self, request: Http, about: dict[str, Any]) -> dict[str, Any]:
        if request.method == "GET":
            card = self._service.models.default.card
            return _http_answer(200, msgspec.json.encode({"status": "ok", "model": card.name}))
        if request.method != "POST":
            return _response(no_other(request.method), about)
        return _response(await self._outcome(self._posted(request, about)), about)

    async def _posted(self, request: Http, about: dict[str, Any]) -> CountAnswer:
        told = request.headers.get("content-type", "")
        photo = parse(media_type(told), request.body, request.query)
        about |= {
            "content_type": told,
            "client": f"lambda/{request.caller}" if request.caller else "",
            "idempotency_key": request.headers.get("idempotency-key"),
        }
        return await self._service.count(photo.asked(**about))

    async def _direct(self, direct: Direct, about: dict[str, Any]) -> CountAnswer:
        photo = direct.photo
        if direct.s3 is not None:
            photo = msgspec.structs.replace(photo, image=await self._stored(direct.s3))
        return await self._service.count(photo.asked(**about, idempotency_key=direct.idempotency_key))

    async def _notified(self, new: NewObject, about: dict[str, Any]) -> dict[str, Any]:
        """What one photo of a notification came to. What may pass is raised: then Lambda tries the event again."""
        outcome = await self._outcome(self._from_bucket(new, about))
        if isinstance(outcome, BintallyError) and detail_of(outcome)[0] >= 500:
            raise outcome
        told = _plain(outcome)
        is_answered = isinstance(outcome, CountAnswer)
        return {"bucket": new.place.bucket, "key": new.place.key, **({"answer": told} if is_answered else told)}

    async def _from_bucket(self, new: NewObject, about: dict[str, Any]) -> CountAnswer:
        photo = PhotoRequest(image=await self._stored(new.place))
        return await self._service.count(photo.asked(**about, idempotency_key=new.idempotency_key))

    async def _stored(self, place: S3Object) -> bytes:
        return await asyncio.to_thread(photo_in, place, max_photo_bytes=self._config.max_photo_bytes)

    async def _outcome(self, counting: Awaitable[CountAnswer]) -> CountAnswer | BintallyError:
        try:
            return await counting
        except BintallyError as error:
            return error
        except Exception:
            _log.exception("%s", _OURS)
            return BintallyError(_OURS, hint="Its log says why.")


def _about(config: ServeConfig, context: Context) -> dict[str, Any]:
    left_s = context.get_remaining_time_in_millis() / 1000 - _SPARE_S
    return {
        "door": "lambda",
        "deadline": time.monotonic() + min(config.timeout_s, max(left_s, 0.0)),
        "request_id": context.aws_request_id,
    }


def _plain(outcome: CountAnswer | BintallyError) -> dict[str, Any]:
    """The answer, or {"status", "error"}."""
    if isinstance(outcome, CountAnswer):
        return outcome.to_plain()
    status, detail = detail_of(outcome)
    return {"status": status, "error": msgspec.to_builtins(detail)}


def _response(outcome: CountAnswer | BintallyError, about: Mapping[str, Any]) -> dict[str, Any]:
    """The same as HTTP would say, as API Gateway takes it. A replayed answer has this request's id, too."""
    name = {"X-Request-Id": about["request_id"]}
    if isinstance(outcome, CountAnswer):
        again = {"Idempotency-Replayed": "true"} if outcome.replayed else {}
        return _http_answer(200, outcome.to_json().encode(), **name, **again)
    status, detail = detail_of(outcome)
    after_s = outcome.retry_after_s if isinstance(outcome, RequestError) else None
    later = {} if after_s is None else {"Retry-After": str(math.ceil(after_s))}
    return _http_answer(status, msgspec.json.encode(ErrorAnswer(detail)), **name, **later)


def _http_answer(status: int, body: bytes, **headers: str) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {"Content-Type": JSON_TYPE, **headers},
        "body": body.decode(),
        "isBase64Encoded": False,
    }


_functions: list[Function] = []


def _function() -> Function:
    if not _functions:
        _functions.append(Function(ServeConfig.from_environment({})))
    return _functions[0]


def handler(event: object, context: Context) -> dict[str, Any]:
    """Lambda's entry. Settings are read from BINTALLY_SERVE_... variables.

    Raises:
        RequestError: an S3 notification's photo can't be had just now; Lambda tries again.
    """
    return _function()(event, context)


if "AWS_LAMBDA_RUNTIME_API" in os.environ:  # loaded while Lambda starts up, which has the full processor
    _function()
