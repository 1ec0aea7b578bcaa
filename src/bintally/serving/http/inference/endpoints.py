"""The protocol's endpoints. Errors have its shape, `{"error": "..."}`, below /v2 and nowhere else."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from fastapi import Request
from fastapi.responses import Response

from bintally import __version__
from bintally.errors import RequestError
from bintally.serving.answer import CountAnswer
from bintally.serving.asked import JSON_TYPE
from bintally.serving.engine.engine import Engine
from bintally.serving.http import openapi
from bintally.serving.http.batch import Answered, answers_of
from bintally.serving.http.body import PhotoRequest, decoded, media_type
from bintally.serving.http.errors import PlainError, answer
from bintally.serving.http.guards.gate import charge
from bintally.serving.http.headers import single
from bintally.serving.http.house import House, aside
from bintally.serving.http.inference.messages import (
    BINARY_EXTENSION,
    InferRequest,
    InferResponse,
    ModelMetadata,
    ModelReady,
    ServerHealth,
    ServerMetadata,
    metadata_of,
    version_of,
)
from bintally.serving.http.inference.tensors import MOST_JSON_PIXELS, check_outputs, outputs_of, photos_of
from bintally.serving.operation.readiness import unready
from bintally.serving.refusals import invalid

TAG: Final = "Open Inference Protocol"
HEADER_LENGTH: Final = "Inference-Header-Content-Length"
BINARY_TYPE: Final = "application/octet-stream"
RECORDS: Final = (
    ServerMetadata,
    ServerHealth,
    ModelReady,
    ModelMetadata,
    InferRequest,
    InferResponse,
    PlainError,
)
_PARAMETERS: Final = ("counts", "bin_image_id", "bin_id", "site", "recorded_count", "captured_at")
_IGNORED: Final = ("binary_data_output", "priority", "timeout", "sequence_id", "sequence_start", "sequence_end")
_HINT: Final = f"It has `inputs`; `id`, `outputs` and `parameters` ({', '.join(_PARAMETERS)}) may be added."
_COUNTING: Final = openapi.errors(400, 404, 408, 409, 413, 415, 422, 504, *openapi.ALWAYS, record=PlainError)


def add(app: openapi.App, house: House) -> None:
    """Adds the endpoints."""
    _add_server(app, house)
    _add_models(app, house)


def _add_server(app: openapi.App, house: House) -> None:
    async def metadata(_: Request) -> Response:
        """What server this is."""
        return answer(ServerMetadata("bintally", __version__, (BINARY_EXTENSION,)))

    async def live(_: Request) -> Response:
        """Does the server answer?"""
        return answer(ServerHealth(live=True, ready=unready(house.service) is None))

    async def ready(_: Request) -> Response:
        """Should the server get requests?"""
        is_ready = unready(house.service) is None
        return answer(ServerHealth(live=True, ready=is_ready), 200 if is_ready else 503)

    health = openapi.json_of(200, openapi.ref(ServerHealth))
    failing = openapi.json_of(503, openapi.ref(ServerHealth), "It should not")
    told = openapi.json_of(200, openapi.ref(ServerMetadata))
    app.answer("GET", "/v2", metadata, tag=TAG, responses=told)
    app.answer("GET", "/v2/health/live", live, tag=TAG, responses=health, always=())
    app.answer("GET", "/v2/health/ready", ready, tag=TAG, responses=health | failing, always=())


def _add_models(app: openapi.App, house: House) -> None:
    async def metadata(request: Request) -> Response:
        """What a model takes and tells."""
        return answer(metadata_of(_engine(request, house).card, request.path_params["model"]))

    async def ready(request: Request) -> Response:
        """Should a model get requests?"""
        _engine(request, house)
        is_ready = unready(house.service) is None
        return answer(ModelReady(request.path_params["model"], is_ready), 200 if is_ready else 503)

    async def infer(request: Request) -> Response:
        """Count the items in photos of bins.

        The input `photos` is BYTES [N] (files; in JSON as base64) or UINT8 [N, H, W, 3] (RGB pixels). The parameter
        `counts` restricts the answer; what else may be said of a photo is said of all of them. A bad photo spoils the
        request: the protocol has no place for an error of one. Contents may be binary (Triton's binary_tensor_data).
        """
        return await _inferred(request, house)

    body = openapi.body({JSON_TYPE: openapi.ref(InferRequest), BINARY_TYPE: openapi.BINARY})
    length = openapi.parameter(HEADER_LENGTH, "header", "Bytes of the JSON, where binary contents follow")
    counted = openapi.told("The outputs", {JSON_TYPE: openapi.ref(InferResponse), BINARY_TYPE: openapi.BINARY})
    known = openapi.json_of(200, openapi.ref(ModelMetadata)) | openapi.errors(404, record=PlainError)
    can = openapi.json_of(200, openapi.ref(ModelReady)) | openapi.errors(404, record=PlainError)
    cannot = openapi.json_of(503, openapi.ref(ModelReady), "It should not")
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        app.answer("GET", path, metadata, tag=TAG, responses=known)
        app.answer("GET", f"{path}/ready", ready, tag=TAG, responses=can | cannot)
        app.answer(
            "POST",
            f"{path}/infer",
            infer,
            tag=TAG,
            parameters=(length, *openapi.ABOUT_REQUEST),
            body=body,
            responses={200: counted, **_COUNTING},
        )


async def _inferred(request: Request, house: House) -> Response:
    kind = media_type(request.headers.get("content-type") or JSON_TYPE, (JSON_TYPE, BINARY_TYPE))  # Triton's says none
    name = request.path_params["model"]
    card = _engine(request, house).card
    about = house.about(request) | {"model": name}
    most = house.config.max_photos
    async with house.body(request, JSON_TYPE, deadline=about["deadline"], photos=most) as data:
        asked, asking = await aside(_read, data, _json_length(request, kind, data), house)
        charge(request.scope.get("state", {}), len(asking))
        answers = _all_answered(await answers_of(house.service, asking, about | {"door": "inference"}))
    is_binary = asked.parameters.get("binary_data_output", False) is True
    outputs, binary = outputs_of(answers, asked.outputs, is_binary=is_binary)
    told = msgspec.json.encode(InferResponse(name, version_of(card), outputs, asked.id))
    headers = {"X-Request-Id": about["request_id"]}
    if not binary:
        return Response(told, media_type=JSON_TYPE, headers=headers)
    return Response(told + binary, media_type=BINARY_TYPE, headers={**headers, HEADER_LENGTH: str(len(told))})


def _engine(request: Request, house: House) -> Engine:
    """The model that is asked, in the version that is asked for.

    Raises:
        RequestError: 404.
    """
    name, version = request.path_params["model"], request.path_params.get("version")
    engine = house.service.models.get(name)
    if version not in (None, version_of(engine.card)):
        raise RequestError(
            f"The model {name!r} has no version {version!r}.",
            status=404,
            code="no_such_model",
            hint=f"{version_of(engine.card)!r} is loaded.",
        )
    return engine


def _json_length(request: Request, kind: str, data: bytes) -> int:
    told = single(request.headers, HEADER_LENGTH)
    if told is None:
        if kind == BINARY_TYPE:
            raise invalid(f"The header {HEADER_LENGTH} is missing.", hint="It tells how many bytes are JSON.")
        return len(data)
    if not (told.isascii() and told.isdecimal() and int(told[:18]) <= len(data)):
        raise invalid(f"The {HEADER_LENGTH} {told[:40]!r} is no length within the body.", hint=_HINT)
    return int(told[:18])


def _read(data: bytes, json_length: int, house: House) -> tuple[InferRequest, Sequence[PhotoRequest]]:
    """What is asked, and the question about each photo."""
    asked: InferRequest = decoded(
        data[:json_length], InferRequest, hint=_HINT, once=frozenset(), most_marks=MOST_JSON_PIXELS // 2
    )
    check_outputs(asked.outputs)
    said = _said(asked.parameters)
    photos = photos_of(
        asked.inputs,
        data[json_length:],
        most=house.config.max_photos,
        max_pixels=house.config.max_megapixels * 1_000_000,
    )
    return asked, [msgspec.structs.replace(said, image=photo) for photo in photos]


def _said(parameters: dict[str, Any]) -> PhotoRequest:
    for name in parameters:
        if name not in (*_PARAMETERS, *_IGNORED):
            raise invalid(f"There is no parameter {name[:40]!r}.", hint=_HINT)
    try:
        return msgspec.convert({name: each for name, each in parameters.items() if name in _PARAMETERS}, PhotoRequest)
    except msgspec.ValidationError as error:
        raise invalid(f"The parameters can't be used: {error}.", hint=_HINT) from None


def _all_answered(answers: Sequence[Answered]) -> list[CountAnswer]:
    """The answers, if all are; else the first error, which says of which photo it is."""
    for place, each in enumerate(answers):
        if not isinstance(each, CountAnswer):
            each.message = f"Photo {place}: {each.message}"
            raise each
    return [each for each in answers if isinstance(each, CountAnswer)]
