"""OpenAPI for endpoints that read their bodies themselves: our records' schemas, bodies, error answers."""

from typing import Any, Final

import msgspec
from fastapi import FastAPI

from bintally.serving.asked import JSON_TYPE, PHOTO_TYPES
from bintally.serving.http.errors import ErrorAnswer

_MEANING: Final = {
    400: "Not a photo that can be read, or its URL can't be fetched",
    401: "No API key, or none that is known",
    403: "Not allowed: the key's scopes, or the URL",
    404: "There is no such thing",
    409: "Something else was done or said before",
    413: "Too large",
    415: "Content type not taken",
    422: "It does not say what is wanted",
    429: "More than this key may send; Retry-After says when",
    503: "More than can be counted in time; Retry-After says when",
    504: "Not in time",
}

ALWAYS: Final = (401, 403, 429, 503)
"""What any guarded endpoint may answer."""


class App(FastAPI):
    """FastAPI, whose OpenAPI also knows the records in `records`."""

    def __init__(self, *, records: tuple[type, ...], **settings: Any) -> None:
        super().__init__(**settings)
        self._records = (ErrorAnswer, *records)

    def openapi(self) -> dict[str, Any]:
        """The whole API."""
        if self.openapi_schema is None:
            _, schemas = msgspec.json.schema_components(self._records, ref_template="#/components/schemas/{name}")
            super().openapi().setdefault("components", {}).setdefault("schemas", {}).update(schemas)
        return super().openapi()


def ref(record: type) -> dict[str, Any]:
    """The schema of a record, by name."""
    return {"$ref": f"#/components/schemas/{record.__name__}"}


def json_of(status: int, schema: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """A JSON answer."""
    return {status: {"content": {JSON_TYPE: {"schema": schema}}}}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Error answers."""
    content = {JSON_TYPE: {"schema": ref(ErrorAnswer)}}
    return {status: {"description": _MEANING[status], "content": content} for status in statuses}


def photo_answer() -> dict[int | str, dict[str, Any]]:
    """A photo, or that there is none."""
    return {200: {"content": {name: {} for name in PHOTO_TYPES}}, **errors(404)}


def photo_body(json_schema: dict[str, Any]) -> dict[str, Any]:
    """A photo as it is, or JSON."""
    photo = {name: {"schema": {"type": "string", "format": "binary"}} for name in PHOTO_TYPES}
    return {"required": True, "content": {**photo, JSON_TYPE: {"schema": json_schema}}}
