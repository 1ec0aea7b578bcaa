"""Errors, which have one shape everywhere, and how any record becomes a response."""

import math
from collections.abc import Callable
from typing import Any, Final

import msgspec
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from bintally.errors import BintallyError, PhotoError, RequestError
from bintally.serving.asked import JSON_TYPE


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


def detail_of(error: BintallyError) -> tuple[int, ErrorDetail]:
    """HTTP's status for an error, and what is told of it; other doors tell the same."""
    if isinstance(error, RequestError):
        return error.status, ErrorDetail(error.code, error.message, error.hint)
    if isinstance(error, PhotoError):
        return 400, ErrorDetail("bad_photo", error.message, error.hint)
    return 500, ErrorDetail("internal", error.message, error.hint)


def refusal(error: BintallyError) -> Response:
    """An error as a response."""
    status, detail = detail_of(error)
    response = answer(ErrorAnswer(detail), status)
    if isinstance(error, RequestError) and error.retry_after_s is not None:
        response.headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    return response


def _refuse(status: int, code: str, message: str, hint: str = "") -> Response:
    return answer(ErrorAnswer(ErrorDetail(code, message, hint)), status)


async def _on_ours(_request: Request, error: Exception) -> Response:
    assert isinstance(error, BintallyError)  # noqa: S101 - registered for no other
    return refusal(error)


async def _on_http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 422
    code = {404: "not_found", 405: "method_not_allowed"}.get(status, "invalid_request")
    message = f"{request.method} {request.url.path} is not to be had here."
    told = _refuse(status, code, message, "GET /openapi.json lists what is.")
    told.headers.update(getattr(error, "headers", None) or {})  # Allow, for a 405
    return told


async def _on_bug(_request: Request, _error: Exception) -> Response:
    # Its text may hold paths or worse; the traceback stands in the service's log.
    return _refuse(500, "internal", "The service failed on this request.", "Its log says why.")


ERROR_HANDLERS: Final[dict[type[Exception], Callable[[Request, Exception], Any]]] = {
    BintallyError: _on_ours,
    HTTPException: _on_http,
    RequestValidationError: _on_http,
    Exception: _on_bug,
}
