"""Models by name, as a SageMaker multi-model endpoint loads, lists, asks and unloads them.

https://docs.aws.amazon.com/sagemaker/latest/dg/mms-container-apis.html
"""

import asyncio
import os
from pathlib import Path
from typing import Final

import msgspec
from fastapi import Request
from fastapi.responses import Response

from bintally.bundle import Bundle
from bintally.errors import ModelError, RequestError, UsageError
from bintally.serving.asked import JSON_TYPE
from bintally.serving.http import openapi
from bintally.serving.http.body import check_name, decoded, media_type
from bintally.serving.http.errors import answer
from bintally.serving.http.headers import single
from bintally.serving.http.house import House
from bintally.serving.http.reading import body_of
from bintally.serving.http.sagemaker import TAG, described, invoked
from bintally.serving.models import MEMORY_PER_BYTE
from bintally.serving.refusals import invalid
from bintally.serving.settings import ServeConfig
from bintally.settings import available_memory

SAGEMAKER_MODELS: Final = Path("/opt/ml/models")
PAGE: Final = 100
"""Models in one answer of the list."""

_MOST_JSON_BYTES: Final = 16 * 1024
_HINT: Final = 'Send {"model_name": NAME, "url": FOLDER}.'


class LoadRequest(msgspec.Struct, frozen=True):
    """Which model to load under which name. Other fields are SageMaker's own and are not looked at."""

    model_name: str
    url: str


class ModelEntry(msgspec.Struct, frozen=True, rename="camel"):
    """A model that is loaded."""

    model_name: str
    model_url: str


class ModelList(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Models that are loaded, by name. `next_page_token` goes into the next request; none: that was all."""

    models: tuple[ModelEntry, ...]
    next_page_token: str | None = None


RECORDS: Final = (LoadRequest, ModelEntry, ModelList)


class Shelf:
    """The models of a folder, each loaded under a name that was asked for.

    Raises:
        UsageError: several workers, of which only one would know a model.
    """

    def __init__(self, house: House) -> None:
        self._models, self._root = house.service.models, folder_of(house.config)
        self._loading = asyncio.Lock()  # two at once would each see the memory that the other is about to take
        self._urls: dict[str, str] = {}

    async def load(self, wanted: LoadRequest) -> ModelEntry:
        """Loads a model.

        Raises:
            RequestError: 403 not in the folder, 404 nothing there, 409 loaded, 422 not usable, 507 not enough memory.
        """
        check_name("model_name", wanted.model_name)
        if "/" in wanted.model_name:
            raise invalid("model_name can't have a slash in it.", hint="It is a part of the model's paths.")
        folder = self._folder(wanted.url)
        async with self._loading:
            if wanted.model_name in self._models.named():  # whether or not there is memory for another
                raise _loaded(wanted.model_name)
            try:
                await asyncio.to_thread(_check_memory, folder)
                await self._models.load(wanted.model_name, folder)
            except MemoryError:
                raise _no_memory(f"The model {wanted.model_name!r} does not fit.") from None
            except ModelError as error:
                raise RequestError(error.message, status=422, code="bad_model", hint=error.hint) from None
            self._urls[wanted.model_name] = wanted.url
        return self.entry(wanted.model_name)

    async def unload(self, name: str) -> None:
        """Lets a model go; what is under way is answered.

        Raises:
            RequestError: 404, no such model is loaded.
        """
        await self._models.unload(name)
        self._urls.pop(name, None)

    def entry(self, name: str) -> ModelEntry:
        """A loaded model.

        Raises:
            RequestError: 404, no such model is loaded.
        """
        engine = self._models.named().get(name)
        if engine is None:
            raise RequestError(f"No model {name!r} is loaded.", status=404, code="no_such_model", hint="GET /models.")
        return ModelEntry(name, self._urls.get(name, str(engine.counter.bundle.folder)))

    def entries(self, after: str | None) -> ModelList:
        """The loaded models, those with names after `after`."""
        names = sorted(name for name in self._models.named() if after is None or name > after)
        page = names[:PAGE]
        return ModelList(tuple(self.entry(name) for name in page), page[-1] if len(names) > PAGE else None)

    def _folder(self, url: str) -> Path:
        if self._root is None:
            raise RequestError(
                "No models are loaded by name here.",
                status=403,
                code="models_not_allowed",
                hint="Start the service with BINTALLY_SERVE_MODELS=FOLDER.",
            )
        try:
            folder = (self._root / url).resolve()  # links are followed, so that none leads out
        except (OSError, ValueError, RuntimeError):
            folder = Path("/")
        if not folder.is_relative_to(self._root.resolve()):
            raise RequestError(
                f"{url[:200]!r} is not in the folder of models.",
                status=403,
                code="models_not_allowed",
                hint="The operator says where models are, with BINTALLY_SERVE_MODELS.",
            )
        if not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises where a name is too long
            raise RequestError(
                f"There is no folder {url[:200]!r}.",
                status=404,
                code="no_such_model",
                hint="The url is a folder's path, whole or below the operator's folder of models.",
            )
        return folder


def add(app: openapi.App, house: House) -> None:
    """Adds the endpoints.

    Raises:
        UsageError: several workers, of which only one would know a model.
    """
    shelf = Shelf(house)

    async def listed(request: Request) -> Response:
        """The models that are loaded, by name, a hundred at a time."""
        return answer(shelf.entries(request.query_params.get("next_page_token")))

    async def load(request: Request) -> Response:
        """Load the model in a folder under a name.

        `url` is a folder below the operator's folder of models. 507: there is not enough memory, unload others first.
        """
        media_type(request.headers.get("content-type", ""), (JSON_TYPE,))
        about = house.about(request)
        async with body_of(request, house.room, limit=_MOST_JSON_BYTES, deadline=about["deadline"]) as data:
            return answer(await shelf.load(decoded(data, LoadRequest, hint=_HINT)))

    async def told(request: Request) -> Response:
        """One model that is loaded."""
        return answer(shelf.entry(request.path_params["model"]))

    async def unload(request: Request) -> Response:
        """Unload a model; what it works on is answered."""
        await shelf.unload(request.path_params["model"])
        return answer({})

    async def invoke(request: Request) -> Response:
        """Count with a model that is loaded, as /invocations does."""
        name = request.path_params["model"]
        shelf.entry(name)
        single(request.headers, "x-amzn-sagemaker-target-model")  # for logs, says the contract
        return await invoked(request, house, model=name)

    _add(app, listed, load, told, unload, invoke)


def _add(
    app: openapi.App,
    listed: openapi.Endpoint,
    load: openapi.Endpoint,
    told: openapi.Endpoint,
    unload: openapi.Endpoint,
    invoke: openapi.Endpoint,
) -> None:
    entry = openapi.json_of(200, openapi.ref(ModelEntry), "The model")
    page = openapi.parameter("next_page_token", "query", "From the answer before")
    app.answer(
        "GET",
        "/models",
        listed,
        tag=TAG,
        parameters=(page,),
        responses=openapi.json_of(200, openapi.ref(ModelList), "The models"),
    )
    app.answer(
        "POST",
        "/models",
        load,
        tag=TAG,
        body=openapi.body({JSON_TYPE: openapi.ref(LoadRequest)}),
        responses=entry | openapi.errors(400, 404, 408, 409, 413, 415, 422, 507),
    )
    app.answer("GET", "/models/{model}", told, tag=TAG, responses=entry | openapi.errors(404))
    gone = openapi.json_of(200, {"type": "object"}, "It is gone")
    app.answer("DELETE", "/models/{model}", unload, tag=TAG, responses=gone | openapi.errors(404))
    app.answer("POST", "/models/{model}/invoke", invoke, tag=TAG, **described())


def folder_of(config: ServeConfig) -> Path | None:
    """The folder whose subfolders are models; None: there is none.

    Raises:
        UsageError: several workers, of which only one would know a model.
    """
    root = config.models or (SAGEMAKER_MODELS if config.sagemaker else None)
    if root is not None and config.workers > 1:
        raise UsageError(
            f"Models that are loaded by name would be known to one of {config.workers} workers only.",
            hint="Leave --workers out, or do without a folder of models.",
        )
    return root


def _check_memory(folder: Path) -> None:
    """Refuses what surely does not fit: a container that runs out of memory is killed, with all its models.

    Raises:
        RequestError: 507.
        BundleError: no bundle.
    """
    needed, free = MEMORY_PER_BYTE * Bundle.open(folder).card.model_bytes, available_memory()
    if free and needed > free:
        raise _no_memory(f"The model would need about {needed / 2**20:.0f} MB, of {free / 2**20:.0f} MB left.")


def _loaded(name: str) -> RequestError:
    return RequestError(f"A model {name!r} is loaded.", status=409, code="model_loaded", hint="Unload it first.")


def _no_memory(message: str) -> RequestError:
    return RequestError(message, status=507, code="no_memory", hint="Unload a model that is not needed.")
