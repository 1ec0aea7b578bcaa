"""SageMaker's container contract: `GET /ping`, `POST /invocations`.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
"""

import re
from typing import Any, Final

from fastapi import Request
from fastapi.responses import Response

from bintally.errors import RequestError
from bintally.serving.answer import CountAnswer
from bintally.serving.asked import JSON_TYPE
from bintally.serving.http import openapi
from bintally.serving.http.body import PhotoRequest, media_type
from bintally.serving.http.errors import answer
from bintally.serving.http.headers import best_accepted, single
from bintally.serving.http.house import House, counted
from bintally.serving.operation.readiness import unready
from bintally.serving.refusals import invalid

TAG: Final = "SageMaker"
CUSTOM_ATTRIBUTES: Final = "X-Amzn-SageMaker-Custom-Attributes"
INFERENCE_ID: Final = "X-Amzn-SageMaker-Inference-Id"
_VISIBLE: Final = re.compile(r"[\x20-\x7e]*")

HEADERS: Final = (
    openapi.parameter(CUSTOM_ATTRIBUTES, "header", "Comes back with the answer", {**openapi.TEXT, "maxLength": 1024}),
    openapi.parameter(
        INFERENCE_ID, "header", "The caller's name for it, kept in the capture", {**openapi.TEXT, "maxLength": 64}
    ),
)


def add(app: openapi.App, house: House) -> None:
    """Adds the endpoints."""

    async def ping(_: Request) -> Response:
        """Is the service able to count?"""
        why = unready(house.service)
        if why is not None:
            raise RequestError(why, status=503, code="not_ready", hint="GET /health says more.")
        return answer({"status": "ok", "model": house.service.models.default.card.name})

    async def invocations(request: Request) -> Response:
        """Count the items in one photo: its raw bytes, or JSON with the photo in base64 or by URL."""
        return await invoked(request, house)

    state = {"type": "object", "properties": {"status": openapi.TEXT, "model": openapi.TEXT}}
    app.answer(
        "GET",
        "/ping",
        ping,
        tag=TAG,
        responses={**openapi.json_of(200, state, "It is"), **openapi.errors(503)},
        always=(),
    )
    app.answer("POST", "/invocations", invocations, tag=TAG, **described())


async def invoked(request: Request, house: House, **more: Any) -> Response:
    """The answer to an invocation; `more` fields of its question, such as the model.

    Raises:
        RequestError: refused.
        PhotoError: not a photo that can be read.
    """
    kind = media_type(request.headers.get("content-type", ""))
    best_accepted(request.headers, (JSON_TYPE,))
    attributes = _told(request, CUSTOM_ATTRIBUTES, most=1024)
    about = house.about(request) | {
        "door": "sagemaker",
        "custom_attributes": attributes,
        "inference_id": _told(request, INFERENCE_ID, most=64),
        **more,
    }
    async with house.body(request, kind, deadline=about["deadline"]) as data:
        asking = await house.parsed(request, kind, data)
        if asking.model not in (None, more.get("model", asking.model)):
            raise invalid(f"The path names another model than {asking.model!r}.", hint="Name it in the path only.")
        answered = await house.service.count(asking.asked(**about))
    return counted(answered, **({} if attributes is None else {CUSTOM_ATTRIBUTES: attributes}))


def described() -> dict[str, Any]:
    """What the API says of an invocation."""
    told = ("X-Request-Id", "Idempotency-Replayed", CUSTOM_ATTRIBUTES)
    answered = openapi.told("The answer", {JSON_TYPE: openapi.ref(CountAnswer)}, told)
    return {
        "parameters": openapi.ABOUT_PHOTO + openapi.ABOUT_REQUEST + HEADERS,
        "body": openapi.body({**openapi.BINARY_PHOTOS, JSON_TYPE: openapi.ref(PhotoRequest)}),
        "responses": {200: answered, **openapi.errors(*openapi.COUNTING, 404, 406)},
    }


def _told(request: Request, name: str, *, most: int) -> str | None:
    value = single(request.headers, name)
    if value is not None and not (len(value) <= most and _VISIBLE.fullmatch(value)):
        raise invalid(f"{name} can't be used.", hint=f"At most {most} visible ASCII characters can.")
    return value
