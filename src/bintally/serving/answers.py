"""What the service answers with beside counts: the model's summary, and errors, which have one shape everywhere."""

from collections.abc import Callable
from typing import Any, Final, Self

import msgspec
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from bintally.bundle import Card, SplitMetrics
from bintally.errors import BintallyError, PhotoError, RequestError
from bintally.serving.photo_input import JSON_TYPE


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


class ErrorDetail(msgspec.Struct, frozen=True):
    """What went wrong: a word for programs, a sentence, and the next step."""

    code: str
    message: str
    hint: str


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The one shape of every error."""

    error: ErrorDetail


def answer(value: Any, status: int = 200) -> Response:
    """Any record as a JSON response."""
    return Response(msgspec.json.encode(value), status, media_type=JSON_TYPE)


def _refuse(status: int, code: str, message: str, hint: str = "") -> Response:
    return answer(ErrorAnswer(ErrorDetail(code, message, hint)), status)


async def _on_ours(_request: Request, error: Exception) -> Response:
    assert isinstance(error, BintallyError)  # noqa: S101 - registered for no other
    if isinstance(error, RequestError):
        return _refuse(error.status, error.code, error.message, error.hint)
    if isinstance(error, PhotoError):
        return _refuse(400, "bad_photo", error.message, error.hint)
    return _refuse(500, "internal", error.message, error.hint)


async def _on_http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 422
    code = {404: "not_found", 405: "method_not_allowed"}.get(status, "invalid_request")
    message = f"{request.method} {request.url.path} is not to be had here."
    refusal = _refuse(status, code, message, "GET /openapi.json lists what is.")
    refusal.headers.update(getattr(error, "headers", None) or {})  # Allow, for a 405
    return refusal


async def _on_bug(_request: Request, _error: Exception) -> Response:
    # Its text may hold paths or worse; the traceback stands in the service's log.
    return _refuse(500, "internal", "The service failed on this request.", "Its log says why.")


ERROR_HANDLERS: Final[dict[type[Exception], Callable[[Request, Exception], Any]]] = {
    BintallyError: _on_ours,
    HTTPException: _on_http,
    RequestValidationError: _on_http,
    Exception: _on_bug,
}
