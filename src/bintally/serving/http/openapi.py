"""OpenAPI 3.1 for endpoints that read their bodies themselves: our records' schemas, bodies, error answers."""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.routing import Route

from bintally.serving.asked import JSON_TYPE, PHOTO_TYPES
from bintally.serving.http.guards.needs import scope_of
from bintally.serving.http.headers import IDEMPOTENCY_KEY, REQUEST_TIMEOUT
from bintally.serving.refusals import ErrorAnswer

Schema: TypeAlias = dict[str, Any]
Responses: TypeAlias = dict[int | str, Schema]
Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

BINARY: Final[Schema] = {"type": "string", "format": "binary"}
TEXT: Final[Schema] = {"type": "string"}
BINARY_PHOTOS: Final[dict[str, Schema]] = dict.fromkeys(PHOTO_TYPES, BINARY)

COUNTING: Final = (400, 408, 409, 413, 415, 422, 504)
"""What an endpoint may answer that counts photos, beside `ALWAYS` and 404 (no such model)."""

ALWAYS: Final = (401, 403, 429, 500, 503)
"""What any guarded endpoint may answer."""

_MEANING: Final = {
    400: "Not a photo that can be read, its URL can't be fetched, or the request contradicts itself",
    401: "No API key, or none that is known",
    403: "Not allowed: the key's scopes, the URL, or another site's page",
    404: "There is no such thing",
    406: "No answer of the kind that is accepted",
    408: "The body came too slowly",
    409: "Something else was done or said before",
    413: "Too large, or too many photos",
    415: "Content type or encoding not taken",
    422: "It does not say what is wanted",
    429: "More than this key may send; Retry-After says when",
    500: "The service failed; its log says why",
    503: "More than can be counted in time, or stopping; Retry-After says when",
    504: "Not in time",
    507: "Not enough memory",
}


_SECURITY: Final[Schema] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, where one is asked for.",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "The same in another header."},
}


class App(FastAPI):
    """FastAPI, whose OpenAPI also knows the records in `records` and the endpoints added by `answer`."""

    def __init__(self, *, records: tuple[type, ...], **settings: Any) -> None:
        super().__init__(**settings)
        self._records = (ErrorAnswer, *records)
        self._documented: dict[str, dict[str, Any]] = {}
        self._handlers: dict[str, tuple[Route, dict[str, Endpoint]]] = {}

    def answer(
        self,
        method: str,
        path: str,
        endpoint: Endpoint,
        *,
        tag: str,
        parameters: Sequence[Schema] = (),
        body: Schema | None = None,
        responses: Responses,
        always: Sequence[int] = ALWAYS,
    ) -> None:
        """Adds an endpoint that reads the request and writes the response itself; its docstring describes it.

        It is reached without FastAPI's own machinery, which would cost more than all else that HTTP costs us.
        """
        self._route(method, path, endpoint)
        summary, _, more = (inspect.getdoc(endpoint) or "").partition("\n\n")
        named = [_in_path(name) for name in re.findall(r"{(\w+)", path)]
        operation: Schema = {
            "tags": [tag],
            "summary": summary.replace("\n", " ").removesuffix("."),
            "operationId": _operation_id(method, path),
            "parameters": [*named, *parameters],
            "responses": _in_order(errors(*always) | responses),
        }
        if more:
            operation["description"] = more.replace("\n", " ")
        if body is not None:
            operation["requestBody"] = body
        scope = scope_of(method, path)
        if scope is not None:
            operation["security"] = [{"bearer": [scope]}, {"apiKey": [scope]}, {}]
        self._documented.setdefault(re.sub(r":\w+}", "}", path), {})[method.lower()] = operation

    def _route(self, method: str, path: str, endpoint: Endpoint) -> None:
        if path in self._handlers:
            route, handlers = self._handlers[path]
            handlers[method] = endpoint
            assert route.methods is not None  # noqa: S101 - made below
            route.methods |= {method}
            return
        handlers = {method: endpoint}
        if method == "GET":
            handlers["HEAD"] = endpoint

        async def dispatch(request: Request) -> Response:
            request.scope["route"] = route  # as FastAPI does, for those who count requests by path
            return await handlers[request.method](request)

        route = Route(path, dispatch, methods=[method], include_in_schema=False)
        self._handlers[path] = route, handlers
        self.router.routes.append(route)

    def openapi(self) -> dict[str, Any]:
        """The whole API."""
        if self.openapi_schema is None:
            _, schemas = msgspec.json.schema_components(self._records, ref_template="#/components/schemas/{name}")
            api = super().openapi()
            api["paths"] = self._documented | api.get("paths", {})
            components = api.setdefault("components", {})
            components.setdefault("schemas", {}).update(schemas)
            components["securitySchemes"] = _SECURITY
        return super().openapi()


def by_tag(api: Schema) -> dict[str, list[Schema]]:
    """The operations of an API, by tag, for people to read."""
    groups: dict[str, list[Schema]] = {}
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            [tag] = operation["tags"]
            groups.setdefault(tag, []).append({"path": path, "method": method.upper(), **operation})
    return groups


def ref(record: type) -> Schema:
    """The schema of a record, by name."""
    return {"$ref": f"#/components/schemas/{record.__name__}"}


def told(description: str, content: Mapping[str, Schema] | None = None, headers: Sequence[str] = ()) -> Schema:
    """A response."""
    response: Schema = {"description": description}
    if content:
        response["content"] = {kind: {"schema": schema} for kind, schema in content.items()}
    if headers:
        response["headers"] = {name: {"schema": TEXT} for name in headers}
    return response


def json_of(status: int, schema: Schema, description: str = "The answer") -> Responses:
    """A JSON answer."""
    return {status: told(description, {JSON_TYPE: schema})}


def errors(*statuses: int, record: type = ErrorAnswer) -> Responses:
    """Error answers."""
    return {
        status: told(_MEANING[status], {JSON_TYPE: ref(record)}, ("Retry-After",) if status in (429, 503) else ())
        for status in statuses
    }


def photo_answer() -> Responses:
    """A photo, or that there is none."""
    return {200: told("The photo", BINARY_PHOTOS), **errors(404)}


def body(content: Mapping[str, Schema], examples: Mapping[str, Any] | None = None) -> Schema:
    """A body of one of these media types."""
    kinds: Schema = {kind: {"schema": schema} for kind, schema in content.items()}
    for kind, example in (examples or {}).items():
        kinds[kind]["example"] = example
    return {"required": True, "content": kinds}


def parameter(name: str, place: str, description: str, schema: Schema | None = None, example: Any = None) -> Schema:
    """A parameter that may be left out."""
    found: Schema = {"name": name, "in": place, "description": description, "schema": schema or TEXT}
    if example is not None:
        found["example"] = example
    return found


def _in_path(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": {**TEXT, "minLength": 1}}


def _in_order(responses: Responses) -> dict[str, Schema]:
    named = {str(status): told for status, told in responses.items()}
    return dict(sorted(named.items()))


def _operation_id(method: str, path: str) -> str:
    return "_".join([method.lower(), *re.findall(r"\w+", re.sub(r":\w+}", "}", path))])


_NAME: Final[Schema] = {**TEXT, "minLength": 1, "maxLength": 200}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": 1_000_000}
_MOMENT: Final[Schema] = {**TEXT, "format": "date-time"}

ABOUT_FIELDS: Final[dict[str, tuple[str, Schema, Any]]] = {
    "counts": ("The counts that are asked about", _NAME, "1-5"),
    "bin_image_id": ("The caller's name for the photo; it stands in the answer", _NAME, "00001"),
    "bin_id": ("The bin's code in the ledger: the bin is followed over time", _NAME, "A-01-03"),
    "site": ("The bin's site; needed where the ledger has several", _NAME, "north"),
    "recorded_count": ("What the stock record says: the answer has a verdict about it", _COUNT, 3),
    "captured_at": ("When the photo was taken; without an offset: in UTC", _MOMENT, "2026-01-31T12:00:00Z"),
    "model": ("Which of the loaded models counts", _NAME, "default"),
}
"""What may be said of a photo beside the photo: meaning, schema, example."""

ABOUT_PHOTO: Final = tuple(
    parameter(name, "query", f"{meaning}. Only beside a photo that is sent as it is.", schema, example)
    for name, (meaning, schema, example) in ABOUT_FIELDS.items()
)

_KEY: Final[Schema] = {**TEXT, "minLength": 1, "maxLength": 255}
_SECONDS: Final[Schema] = {"type": "number", "exclusiveMinimum": 0}

ABOUT_ANY: Final = (
    parameter(REQUEST_TIMEOUT, "header", "Seconds after which the answer is no longer wanted", _SECONDS, 2.5),
    parameter("X-Request-Id", "header", "A name for the request; it comes back if ^[A-Za-z0-9_.-]{1,64}$ matches"),
)
"""What may be said of any request that counts."""

ABOUT_REQUEST: Final = (
    parameter(IDEMPOTENCY_KEY, "header", "The same request with the same key is answered once", _KEY),
    *ABOUT_ANY,
)
