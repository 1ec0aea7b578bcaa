"""The HTTP front door: a page for people, `/invocations` for machines, one error shape for both.

Counting and whatever else takes time runs in threads, so that `/ping` answers while photos are counted.
"""

import secrets
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, Self

import msgspec
from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response

from bintally import __version__
from bintally.bundle import Card
from bintally.errors import RequestError, UsageError
from bintally.pages import render
from bintally.records import CountEstimate
from bintally.serving import photo_input
from bintally.serving.answers import ERROR_HANDLERS, ErrorAnswer, ModelSummary, answer
from bintally.serving.photo_input import JSON_TYPE, MAX_PHOTO_BYTES, PHOTO_TYPES, PhotoRequest
from bintally.serving.photo_url import AllowedHosts
from bintally.serving.samples import Sample, Samples

COUNTS_AT_ONCE: Final = 2
"""One photo is decoded while another runs through the network, which uses every core by itself."""

FETCHES_AT_ONCE: Final = 8


class PhotoCounter(Protocol):
    """What the service needs of `counting.counter.Counter`."""

    @property
    def card(self) -> Card:
        """The model's card."""

    def count(self, photo: bytes) -> CountEstimate:
        """Counts one photo."""

    def restricted(self, counts: str | None) -> Self:
        """The same model, asked for some counts only."""


def create_app(
    *,
    counter: PhotoCounter,
    allow_url: Sequence[str] = (),
    samples: Path | None = None,
    max_photo_bytes: int = MAX_PHOTO_BYTES,
) -> FastAPI:
    """The service around `counter`.

    `allow_url` names the hosts photos may be fetched from, `samples` a folder of photos that the page offers (None:
    rendered ones).

    Raises:
        UsageError: `allow_url` holds something else than hosts, or `samples` no photo.
    """
    house = _House(counter, AllowedHosts(allow_url), Samples(samples), max_photo_bytes)
    # No /docs and /redoc: FastAPI's pages load their scripts from a CDN, and a warehouse may have no way out.
    app = _App(
        title="bintally",
        summary="Counts the items in photos of warehouse bins.",
        version=__version__,
        docs_url=None,
        redoc_url=None,
    )
    for path, endpoint, schema in (
        ("/ping", house.ping, {"type": "object"}),
        ("/model", house.model, _ref(ModelSummary)),
        ("/samples", house.samples, {"type": "array", "items": _ref(Sample)}),
    ):
        app.add_api_route(path, endpoint, response_model=None, responses=_json(200, schema))
    app.add_api_route("/samples/{name}", house.sample, response_model=None, responses=_photo_answer())
    app.add_api_route(
        "/invocations",
        house.invocations,
        methods=["POST"],
        response_model=None,
        responses=_json(200, _ref(CountEstimate)) | _errors(400, 403, 413, 415, 422),
        openapi_extra={"requestBody": _request_body()},
    )
    app.add_api_route("/", house.page, include_in_schema=False)
    for error, handler in ERROR_HANDLERS.items():
        app.add_exception_handler(error, handler)
    return app


class _House:
    """The endpoints and what they share."""

    def __init__(self, counter: PhotoCounter, hosts: AllowedHosts, samples: Samples, max_photo_bytes: int) -> None:
        self._counter = counter
        self._hosts = hosts
        self._samples = samples
        self._max_photo_bytes = max_photo_bytes
        self._counting = CapacityLimiter(COUNTS_AT_ONCE)
        self._fetching = CapacityLimiter(FETCHES_AT_ONCE)

    async def ping(self) -> Response:
        """Says that the service is up and its model loaded; SageMaker asks this."""
        return answer({"status": "ok", "model": self._counter.card.name})

    async def model(self) -> Response:
        """Which model counts, how good it is, and its licence."""
        return answer(ModelSummary.of(self._counter.card))

    async def invocations(self, request: Request) -> Response:
        """Counts the items in one photo: its raw bytes, or JSON with the photo in base64 or by URL."""
        kind = photo_input.media_type(request.headers.get("content-type", ""))
        body = await photo_input.read_body(
            request.stream(),
            kind=kind,
            claimed=request.headers.get("content-length"),
            max_photo_bytes=self._max_photo_bytes,
        )
        asked = await to_thread.run_sync(photo_input.parse, kind, body)
        if asked.url is not None:
            fetch = partial(self._hosts.fetch, asked.url, max_bytes=self._max_photo_bytes)
            photo = await to_thread.run_sync(fetch, limiter=self._fetching)
        else:
            photo = asked.image or b""
        estimate = await to_thread.run_sync(self._count, asked, photo, limiter=self._counting)
        return Response(estimate.to_json(), media_type=JSON_TYPE)

    def _count(self, asked: PhotoRequest, photo: bytes) -> CountEstimate:
        photo = photo_input.checked(photo, max_photo_bytes=self._max_photo_bytes)
        try:
            counter = self._counter.restricted(asked.counts)
        except UsageError as error:
            raise photo_input.invalid(error.message) from None
        return msgspec.structs.replace(counter.count(photo), path=asked.url, bin_image_id=asked.bin_image_id)

    def samples(self) -> Response:
        """The sample photos that the page offers."""
        return answer(self._samples.all())

    def sample(self, name: str) -> Response:
        """One sample photo."""
        found = self._samples.photo(name)
        if found is None:
            message = f"There is no sample {name!r}."
            raise RequestError(message, status=404, code="not_found", hint="GET /samples lists them.")
        return Response(found[0], media_type=found[1], headers={"Cache-Control": "max-age=3600"})

    def page(self) -> HTMLResponse:
        """The page for people."""
        nonce = secrets.token_urlsafe(16)
        about = {"card": self._counter.card, "max_bytes": self._max_photo_bytes, "types": PHOTO_TYPES}
        html = render("serve.html", **about, nonce=nonce)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src 'self' blob: data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'"
        )
        return HTMLResponse(html, headers={"Content-Security-Policy": policy, "Cache-Control": "no-store"})


class _App(FastAPI):
    """FastAPI, whose OpenAPI also knows our records."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            records = (CountEstimate, ErrorAnswer, ModelSummary, PhotoRequest, Sample)
            _, schemas = msgspec.json.schema_components(records, ref_template="#/components/schemas/{name}")
            super().openapi().setdefault("components", {}).setdefault("schemas", {}).update(schemas)
        return super().openapi()


def _ref(record: type) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{record.__name__}"}


def _json(status: int, schema: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {status: {"content": {JSON_TYPE: {"schema": schema}}}}


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {JSON_TYPE: {"schema": _ref(ErrorAnswer)}}
    return {status: {"description": _MEANING[status], "content": content} for status in statuses}


def _photo_answer() -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {name: {} for name in PHOTO_TYPES}}, **_errors(404)}


def _request_body() -> dict[str, Any]:
    photo = {name: {"schema": {"type": "string", "format": "binary"}} for name in PHOTO_TYPES}
    return {"required": True, "content": {**photo, JSON_TYPE: {"schema": _ref(PhotoRequest)}}}


_MEANING: Final = {
    400: "Not a photo that can be read, or its URL can't be fetched",
    403: "URL not allowed",
    404: "No such sample",
    413: "Photo too large",
    415: "Content type not taken",
    422: "JSON that does not say what is wanted",
}
