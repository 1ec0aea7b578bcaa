"""The page for people, the samples it offers, and what it tells of the model."""

import secrets
from functools import cache
from typing import Final, Self

import msgspec
from anyio import to_thread
from fastapi import Request
from fastapi.responses import HTMLResponse, Response

from bintally.bundle import Card, SplitMetrics
from bintally.errors import RequestError
from bintally.pages import render
from bintally.serving.asked import PHOTO_TYPES
from bintally.serving.http import openapi
from bintally.serving.http.errors import answer
from bintally.serving.http.house import House
from bintally.serving.http.samples import Sample, Samples

TAG: Final = "Page"
_NONCE: Final = secrets.token_urlsafe(16)
"""Stands in a page until it is answered, which has one of its own."""


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
    version: str | None = None  # of a registry

    @classmethod
    def of(cls, card: Card, version: str | None = None) -> Self:
        """The summary of `card`."""
        fields = {name: getattr(card, name) for name in cls.__struct_fields__ if name not in ("counts", "version")}
        return cls(counts=card.count_keys, version=version, **fields)


RECORDS: Final = (ModelSummary, Sample)


def add(app: openapi.App, house: House, samples: Samples) -> None:
    """Adds the endpoints."""
    _add_told(app, house, samples)

    async def page(_: Request) -> Response:
        """The page for people."""
        card, config = house.service.models.default.card, house.config
        return _html(
            render(
                "serve.html",
                nonce=_NONCE,
                card=card,
                max_bytes=config.max_photo_bytes,
                types=PHOTO_TYPES,
                knows_bins=config.ledger is not None,
            )
        )

    @cache
    def described() -> str:  # takes 20 ms, and needs no key
        return render("api.html", nonce=_NONCE, api=app.openapi(), groups=openapi.by_tag(app.openapi()))

    async def documents(_: Request) -> Response:
        """The API for people."""
        return _html(described())

    app.add_route("/", page, include_in_schema=False)
    app.add_route("/docs", documents, include_in_schema=False)


def _add_told(app: openapi.App, house: House, samples: Samples) -> None:
    async def model(_: Request) -> Response:
        """Which model counts, how good it is, and its licence."""
        engine = house.service.models.default
        return answer(ModelSummary.of(engine.card, house.service.models.version_of(engine)))

    async def listed(_: Request) -> Response:
        """The sample photos that the page offers."""
        return answer(await to_thread.run_sync(samples.all))

    async def sample(request: Request) -> Response:
        """One sample photo."""
        name = request.path_params["name"]
        found = await to_thread.run_sync(samples.photo, name)
        if found is None:
            message = f"There is no sample {name!r}."
            raise RequestError(message, status=404, code="not_found", hint="GET /samples lists them.")
        return Response(found[0], media_type=found[1], headers={"Cache-Control": "max-age=3600"})

    several = {"type": "array", "items": openapi.ref(Sample)}
    app.answer("GET", "/model", model, tag=TAG, responses=openapi.json_of(200, openapi.ref(ModelSummary)))
    app.answer("GET", "/samples", listed, tag=TAG, responses=openapi.json_of(200, several))
    app.answer("GET", "/samples/{name}", sample, tag=TAG, responses=openapi.photo_answer())


def _html(page: str) -> Response:
    """A page of ours, which loads nothing from elsewhere and runs no script but its own."""
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
    return HTMLResponse(page.replace(_NONCE, nonce), headers=headers)
