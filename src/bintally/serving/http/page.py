"""The page for people, the samples it offers, and what it tells of the model."""

import secrets
from typing import Self

import msgspec
from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response

from bintally.bundle import Card, SplitMetrics
from bintally.errors import RequestError
from bintally.pages import render
from bintally.serving.asked import PHOTO_TYPES
from bintally.serving.http import openapi
from bintally.serving.http.errors import answer
from bintally.serving.http.house import House
from bintally.serving.http.samples import Sample, Samples


class ModelSummary(msgspec.Struct, frozen=True):
    """What `GET /model` tells of the card."""

    name: str
    created: str
    counts: tuple[str, ...]
    height_px: int
    width_px: int
    set_coverage: float
    metrics: dict[str, SplitMetrics]
    licence: str
    code_version: str

    @classmethod
    def of(cls, card: Card) -> Self:
        """The summary of `card`."""
        fields = {name: getattr(card, name) for name in cls.__struct_fields__ if name != "counts"}
        return cls(counts=card.count_keys, **fields)


def add(app: FastAPI, house: House, samples: Samples) -> None:
    """Adds the endpoints."""

    async def model() -> Response:
        """Which model counts, how good it is, and its licence."""
        return answer(ModelSummary.of(house.service.models.default.card))

    def listed() -> Response:
        """The sample photos that the page offers."""
        return answer(samples.all())

    def sample(name: str) -> Response:
        """One sample photo."""
        found = samples.photo(name)
        if found is None:
            message = f"There is no sample {name!r}."
            raise RequestError(message, status=404, code="not_found", hint="GET /samples lists them.")
        return Response(found[0], media_type=found[1], headers={"Cache-Control": "max-age=3600"})

    def page() -> HTMLResponse:
        """The page for people."""
        nonce = secrets.token_urlsafe(16)
        card = house.service.models.default.card
        html = render("serve.html", card=card, max_bytes=house.config.max_photo_bytes, types=PHOTO_TYPES, nonce=nonce)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src 'self' blob: data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'"
        )
        return HTMLResponse(html, headers={"Content-Security-Policy": policy, "Cache-Control": "no-store"})

    several = {"type": "array", "items": openapi.ref(Sample)}
    for path, endpoint, schema in (("/model", model, openapi.ref(ModelSummary)), ("/samples", listed, several)):
        app.add_api_route(path, endpoint, response_model=None, responses=openapi.json_of(200, schema), tags=["page"])
    app.add_api_route("/samples/{name}", sample, response_model=None, responses=openapi.photo_answer(), tags=["page"])
    app.add_api_route("/", page, include_in_schema=False)
