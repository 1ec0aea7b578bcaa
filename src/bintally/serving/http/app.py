"""The HTTP app: every door of it around one `CountingService`."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI

from bintally import __version__
from bintally.records import CountEstimate
from bintally.serving.http import page, sagemaker
from bintally.serving.http.body import PhotoRequest
from bintally.serving.http.errors import ERROR_HANDLERS
from bintally.serving.http.house import House
from bintally.serving.http.openapi import App
from bintally.serving.http.page import ModelSummary
from bintally.serving.http.samples import Sample, Samples
from bintally.serving.service import CountingService
from bintally.serving.settings import ServeConfig


def create_app(
    service: CountingService,
    config: ServeConfig,
    *,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
) -> FastAPI:
    """The app around `service`. `lifespan` starts and ends what runs beside requests.

    Raises:
        UsageError: `config.samples` holds no photo.
    """
    # No /docs and /redoc: FastAPI's pages load their scripts from a CDN, and a warehouse may have no way out.
    app = App(
        records=(CountEstimate, ModelSummary, PhotoRequest, Sample),
        title="bintally",
        summary="Counts the items in photos of warehouse bins.",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    house = House(service, config)
    sagemaker.add(app, house)
    page.add(app, house, Samples(config.samples))
    for error, handler in ERROR_HANDLERS.items():
        app.add_exception_handler(error, handler)
    return app
