"""Errors, which have one shape everywhere, and how any record becomes a response."""

import math
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from bintally.errors import BintallyError, RequestError
from bintally.serving.asked import JSON_TYPE
from bintally.serving.refusals import ErrorAnswer as ErrorAnswer
from bintally.serving.refusals import ErrorDetail as ErrorDetail
from bintally.serving.refusals import detail_of as detail_of

FAILED: Final = ErrorDetail("internal", "The service failed on this request.", "Its log says why.")
"""What is told of a bug of ours."""


class PlainError(msgspec.Struct, frozen=True):
    """An error as the Open Inference Protocol wants it: everything below /v2 answers so."""

    error: str


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Any record as a JSON response."""
    return Response(msgspec.json.encode(value), status, headers, JSON_TYPE)


def refusal(error: BintallyError, *, path: str = "") -> Response:
    """An error as a response, in the shape that clients of `path` know."""
    status, detail = detail_of(error)
    response = _refuse(status, detail, path)
    if isinstance(error, RequestError) and error.retry_after_s is not None:
        response.headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if status == HTTPStatus.REQUEST_TIMEOUT:
        response.headers["Connection"] = "close"  # else the rest of the slow body would be waited for
    return response


def _refuse(status: int, detail: ErrorDetail, path: str) -> Response:
    if path == "/v2" or path.startswith("/v2/"):
        return answer(PlainError(f"{detail.message} {detail.hint}".strip()), status)
    return answer(ErrorAnswer(detail), status)


async def _on_ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, BintallyError)  # noqa: S101 - registered for no other
    return refusal(error, path=request.scope["path"])


async def _on_http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 422
    code = {404: "not_found", 405: "method_not_allowed"}.get(status, "invalid_request")
    message = f"{request.method} {request.url.path} is not to be had here."
    told = _refuse(status, ErrorDetail(code, message, "GET /openapi.json lists what is."), request.scope["path"])
    told.headers.update(getattr(error, "headers", None) or {})  # Allow, for a 405
    return told


async def _on_bug(request: Request, _error: Exception) -> Response:
    # Its text may hold paths or worse; the traceback stands in the service's log.
    return _refuse(500, FAILED, request.scope["path"])


ERROR_HANDLERS: Final[dict[type[Exception], Callable[[Request, Exception], Any]]] = {
    BintallyError: _on_ours,
    HTTPException: _on_http,
    RequestValidationError: _on_http,
    Exception: _on_bug,
}
