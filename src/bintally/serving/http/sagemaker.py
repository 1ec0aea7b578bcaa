"""SageMaker's container contract: `GET /ping`, `POST /invocations`.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
"""

from anyio import to_thread
from fastapi import FastAPI, Request
from fastapi.responses import Response

from bintally.records import CountEstimate
from bintally.serving.http import body, openapi
from bintally.serving.http.body import PhotoRequest
from bintally.serving.http.errors import answer
from bintally.serving.http.house import House, counted


def add(app: FastAPI, house: House) -> None:
    """Adds the endpoints."""

    async def ping() -> Response:
        """Says that the service is up and its model loaded; SageMaker asks this."""
        return answer({"status": "ok", "model": house.service.models.default.card.name})

    async def invocations(request: Request) -> Response:
        """Counts the items in one photo: its raw bytes, or JSON with the photo in base64 or by URL."""
        kind = body.media_type(request.headers.get("content-type", ""))
        data = await body.read_body(
            request.stream(),
            kind=kind,
            claimed=request.headers.get("content-length"),
            max_photo_bytes=house.config.max_photo_bytes,
        )
        asked = await to_thread.run_sync(body.parse, kind, data)
        return counted(await house.service.count(asked.asked(door="sagemaker", **house.about(request))))

    app.add_api_route(
        "/ping", ping, response_model=None, responses=openapi.json_of(200, {"type": "object"}), tags=["SageMaker"]
    )
    app.add_api_route(
        "/invocations",
        invocations,
        methods=["POST"],
        response_model=None,
        responses=openapi.json_of(200, openapi.ref(CountEstimate))
        | openapi.errors(400, 409, 413, 415, 422, 504, *openapi.ALWAYS),
        openapi_extra={"requestBody": openapi.photo_body(openapi.ref(PhotoRequest))},
        tags=["SageMaker"],
    )
