"""The HTTP app: every door of it around one `CountingService`."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from fastapi import FastAPI

from bintally import __version__
from bintally.serving.http import counts, multi_model, overlay, page, sagemaker
from bintally.serving.http.errors import ERROR_HANDLERS
from bintally.serving.http.guards.guarded import guarded
from bintally.serving.http.house import House
from bintally.serving.http.inference import endpoints as inference
from bintally.serving.http.openapi import App
from bintally.serving.http.samples import Samples
from bintally.serving.operation import routes as operation
from bintally.serving.service import CountingService
from bintally.serving.settings import ServeConfig

_RECORDS: Final = tuple(record for door in (counts, overlay, multi_model, inference, page) for record in door.RECORDS)


def create_app(
    service: CountingService,
    config: ServeConfig,
    *,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
    shared: Path | None = None,
) -> FastAPI:
    """The app around `service`. `lifespan` starts and ends what runs beside requests.

    `shared`: a folder of all workers of this start of the service; None: there is only one.

    Raises:
        UsageError: `config.samples` holds no photo, `config.models` does not go with several workers, or requests need
            a key and there is none.
        StorageError: the file of keys can't be read.
    """
    # No /docs and /redoc: FastAPI's pages load their scripts from a CDN, and a warehouse may have no way out.
    app = App(
        records=(*_RECORDS, *operation.RECORDS),
        title="bintally",
        summary="Counts the items in photos of warehouse bins.",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    house = House(service, config)
    for door in (counts, overlay, sagemaker, multi_model, inference):
        door.add(app, house)
    page.add(app, house, Samples(config.samples))
    operation.add(app, house)
    for error, handler in ERROR_HANDLERS.items():
        app.add_exception_handler(error, handler)
    # Around Starlette's own outermost layer, which answers a bug with 500: that answer has its headers and name too.
    guards = guarded(app.build_middleware_stack(), config, service.failures, shared=shared)
    app.middleware_stack = operation.observed(guards, service)
    return app
