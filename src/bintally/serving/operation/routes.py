"""The endpoints of operators: `/health`, `/health/live`, `/health/ready`, `/metrics`, `POST /v1/reload`."""

import time
from typing import Final

import msgspec
from anyio import to_thread
from fastapi import Request
from fastapi.responses import Response
from starlette.types import ASGIApp

from bintally.serving.http import openapi
from bintally.serving.http.errors import answer
from bintally.serving.http.house import House
from bintally.serving.http.openapi import App
from bintally.serving.operation.health import HealthReport, KeptBytes
from bintally.serving.operation.metrics import CONTENT_TYPE, Metrics, metrics_of
from bintally.serving.operation.readiness import unready
from bintally.serving.operation.reloading import Reloading
from bintally.serving.operation.requests import ObservedRequests
from bintally.serving.service import CountingService

TAG: Final = "Operation"


class Reloaded(msgspec.Struct, frozen=True):
    """The model that counts from now on."""

    model: str
    model_sha256: str
    created: str


class Probed(msgspec.Struct, frozen=True):
    """What a probe is told; it looks at the status only."""

    status: str


RECORDS: Final = (HealthReport, Probed, Reloaded)
"""For OpenAPI."""


def add(app: App, house: House) -> None:
    """Adds the endpoints."""
    _add_health(app, house)
    _add_reload(app, Reloading(house.service))
    metrics = metrics_of(house.service)
    if metrics is not None:
        _add_metrics(app, house, metrics)


def observed(app: ASGIApp, service: CountingService) -> ASGIApp:
    """`app` within what looks at every request, those that are refused at the door among them."""
    metrics = metrics_of(service)
    return ObservedRequests(app, on_request=metrics.on_request if metrics else lambda _: None)


def _add_health(app: App, house: House) -> None:
    started = time.monotonic()
    kept = KeptBytes(house.config.state_folder)

    async def health(_request: Request) -> Response:
        """How the service is: what it counts with, how much it has to do, what does not work just now."""
        sizes = await to_thread.run_sync(kept.get)
        report = HealthReport.of(house.service, house.config, started=started, kept_bytes=sizes)
        return answer(report, 503 if report.status == "failing" else 200)

    async def live(_request: Request) -> Response:
        """Says that the process answers; where it does not, it should be started anew."""
        return answer(Probed("ok"))

    async def ready(_request: Request) -> Response:
        """Says whether requests should be sent here."""
        why = unready(house.service)
        return answer(Probed(why or "ok"), 200 if why is None else 503)

    for path, endpoint, record in (
        ("/health", health, HealthReport),
        ("/health/live", live, Probed),
        ("/health/ready", ready, Probed),
    ):
        schema = openapi.ref(record)
        failing = {} if endpoint is live else openapi.json_of(503, schema, "It can't count just now")
        app.answer("GET", path, endpoint, tag=TAG, responses=openapi.json_of(200, schema) | failing, always=())


def _add_metrics(app: App, house: House, metrics: Metrics) -> None:
    async def shown(_request: Request) -> Response:
        """What was counted, how long it took, how busy the service is: for Prometheus."""
        metrics.look(house.service)
        return Response(await to_thread.run_sync(metrics.text), headers={"Content-Type": CONTENT_TYPE})

    text: openapi.Responses = {
        200: openapi.told("The metrics, in Prometheus' text format", {"text/plain": openapi.TEXT})
    }
    app.answer("GET", "/metrics", shown, tag=TAG, responses=text)


def _add_reload(app: App, reloading: Reloading) -> None:
    async def reload(_request: Request) -> Response:
        """Takes the model from its folder anew, in every worker; if it can't be used, the old one stays."""
        reloading.tell_others()
        card = await reloading.reload()
        return answer(Reloaded(card.name, card.model_sha256, card.created))

    app.state.reloading = reloading
    reloaded = openapi.json_of(200, openapi.ref(Reloaded), "The model that counts from now on")
    app.answer("POST", "/v1/reload", reload, tag=TAG, responses=reloaded | openapi.errors(409))
