"""`POST /v1/counts`: photos as they are, in forms, in JSON; one, or many at once."""

from typing import Final

import msgspec
from fastapi import Request
from fastapi.responses import Response

from bintally.errors import RequestError
from bintally.serving.answer import CountAnswer
from bintally.serving.asked import JSON_TYPE, PHOTO_TYPES
from bintally.serving.http import openapi
from bintally.serving.http.batch import Answered, answers_of
from bintally.serving.http.body import Asking, PhotoRequest, check_no_query, media_type, parse_photos
from bintally.serving.http.errors import answer
from bintally.serving.http.form import FORM_TYPE, PHOTO, read_form
from bintally.serving.http.guards.gate import charge
from bintally.serving.http.headers import best_accepted
from bintally.serving.http.house import House, aside, counted
from bintally.serving.refusals import ErrorDetail, detail_of

TAKEN: Final = (*PHOTO_TYPES, FORM_TYPE, JSON_TYPE)


class BatchItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one photo of a batch came to."""

    answer: CountAnswer | None = None
    error: ErrorDetail | None = None


class BatchAnswer(msgspec.Struct, frozen=True):
    """What each photo of a batch came to, in the order they were sent in."""

    answers: tuple[BatchItem, ...]


class PhotosRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Several photos at once."""

    photos: tuple[PhotoRequest, ...]


RECORDS: Final = (CountAnswer, BatchAnswer, PhotoRequest, PhotosRequest)


def add(app: openapi.App, house: House) -> None:
    """Adds the endpoint."""

    async def counts(request: Request) -> Response:
        """Count the items in photos of bins.

        A photo is sent as it is (with what is known of it in the query), as multipart/form-data (a file called `photo`,
        or several, and fields), or in JSON, by base64 or by URL. `{"photos": [...]}`, or a form with several files, is
        a batch: it is answered 200 with an answer or an error for each, in their order, and one that is bad spoils no
        other. In a batch the Idempotency-Key of each photo is the given one with "/" and its place from 0.
        """
        kind = media_type(request.headers.get("content-type", ""), TAKEN)
        best_accepted(request.headers, (JSON_TYPE,))
        about = house.about(request)
        photos = 1 if kind in PHOTO_TYPES else house.config.max_photos
        async with house.body(request, kind, deadline=about["deadline"], photos=photos) as data:
            asking = await _asking(house, request, kind, data)
            if isinstance(asking, PhotoRequest):
                return counted(await house.service.count(asking.asked(door="http", **about)))
            charge(request.scope.get("state", {}), len(asking))
            answers = await answers_of(house.service, asking, about | {"door": "http"})
            return _answers(answers, about["request_id"])

    app.answer(
        "POST",
        "/v1/counts",
        counts,
        tag="Count",
        parameters=openapi.ABOUT_PHOTO + openapi.ABOUT_REQUEST,
        body=_body(),
        responses={
            200: openapi.told(
                "The answer; to a batch, all of them",
                {JSON_TYPE: {"anyOf": [openapi.ref(CountAnswer), openapi.ref(BatchAnswer)]}},
                ("X-Request-Id", "Idempotency-Replayed"),
            ),
            **openapi.errors(*openapi.COUNTING, 404, 406),
        },
    )


async def _asking(house: House, request: Request, kind: str, data: bytes) -> list[Asking] | PhotoRequest:
    """The question of the body, or of a batch one for each photo."""
    if kind in PHOTO_TYPES:
        return await house.parsed(request, kind, data)
    check_no_query(request.query_params.multi_items())
    most = house.config.max_photos
    if kind == JSON_TYPE:
        return await aside(parse_photos, data, most)
    form = await aside(read_form, request.headers["content-type"], data, most)
    asking = form.asking(most)
    return asking if len(asking) > 1 else _alone(asking[0])


def _alone(asking: Asking) -> PhotoRequest:
    if isinstance(asking, RequestError):
        raise asking
    return asking


def _answers(answers: list[Answered], request_id: str) -> Response:
    items = [
        {"answer": each.to_plain()} if isinstance(each, CountAnswer) else {"error": detail_of(each)[1]}
        for each in answers
    ]
    return answer({"answers": items}, headers={"X-Request-Id": request_id})


def _body() -> openapi.Schema:
    one = {"type": "string", "format": "binary"}
    fields = {name: schema for name, (_, schema, _) in openapi.ABOUT_FIELDS.items()}
    form = {
        "type": "object",
        "required": [PHOTO],
        "properties": {PHOTO: {"anyOf": [one, {"type": "array", "items": one}]}, **fields},
        "additionalProperties": False,
    }
    json_body = {"anyOf": [openapi.ref(PhotoRequest), openapi.ref(PhotosRequest)]}
    example = {"url": "http://camera-7.example/last.jpg", "counts": "1-5", "bin_image_id": "00001"}
    return openapi.body({**openapi.BINARY_PHOTOS, FORM_TYPE: form, JSON_TYPE: json_body}, {JSON_TYPE: example})
