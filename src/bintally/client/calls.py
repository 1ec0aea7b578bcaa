"""One call of the service: what is sent, and what its answer means. Nothing here sends."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TypedDict, TypeVar, Unpack

import httpx2
import msgspec

from bintally.client.photo import Photo, bytes_of, content_type_of
from bintally.client.records import Health, ServedModel
from bintally.errors import RequestError, UsageError
from bintally.serving.answer import CountAnswer
from bintally.serving.asked import JSON_TYPE
from bintally.serving.idempotency.question import key_of

_COUNTS: Final = "/v1/counts"
_KEY: Final = "Idempotency-Key"
_REPLAYED: Final = "Idempotency-Replayed"
_T = TypeVar("_T")


class Asking(TypedDict, total=False):
    """What is asked of a photo: `counts` such as "1-5", and which of the loaded models is to count."""

    counts: str | None
    model: str | None


class About(Asking, total=False):
    """What is known of a photo.

    `bin_id` (of `site`) is a bin of the service's ledger, `recorded_count` what the stock system has; `captured_at`
    has a time zone. `idempotency_key`: of your own, where a photo may be sent again after a restart of yours.
    """

    bin_id: str | None
    site: str | None
    bin_image_id: str | None
    recorded_count: int | None
    captured_at: datetime | None
    idempotency_key: str | None


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent, the same at every try."""

    method: str = "GET"
    path: str
    headers: Mapping[str, str] = {}
    query: Mapping[str, str] = {}
    body: bytes | None = None


def count_photo(photo: Photo, **about: Unpack[About]) -> Call:
    """Counts a photo.

    Raises:
        UsageError: it is no photo, or something said of it can't be sent.
        PhotoError: its file can't be read.
    """
    body = bytes_of(photo)
    headers = {"Content-Type": content_type_of(body), _KEY: _key(about)}
    return Call(method="POST", path=_COUNTS, headers=headers, query=_said(about), body=body)


def count_url(url: str, **about: Unpack[About]) -> Call:
    """Counts a photo that the service fetches.

    Raises:
        UsageError: something said of it can't be sent.
    """
    said: dict[str, Any] = {**_said(about), "url": url}
    if about.get("recorded_count") is not None:
        said["recorded_count"] = about["recorded_count"]
    headers = {"Content-Type": JSON_TYPE, _KEY: _key(about)}
    return Call(method="POST", path=_COUNTS, headers=headers, body=msgspec.json.encode(said))


def overlay(photo: Photo, **asked: Unpack[Asking]) -> Call:
    """Asks for the photo, coloured where the model looks.

    Raises:
        UsageError: it is no photo.
        PhotoError: its file can't be read.
    """
    body = bytes_of(photo)
    headers = {"Content-Type": content_type_of(body), "Accept": "image/png"}
    return Call(method="POST", path="/v1/overlay", headers=headers, query=_said(asked), body=body)


MODEL: Final = Call(path="/model")
HEALTH: Final = Call(path="/health")


def _key(about: About) -> str:
    """What makes all tries of one count one."""
    given = about.get("idempotency_key")
    if given is None:
        return uuid.uuid4().hex
    try:
        key_of(given)
    except RequestError as error:
        raise UsageError(error.message, hint="Give a name of your own for the photo, or leave it out.") from None
    return given


def answer_of(response: httpx2.Response) -> CountAnswer:
    """The answer.

    Raises:
        RequestError: it is none.
    """
    answer = _decoded(response, CountAnswer)
    replayed = response.headers.get(_REPLAYED, "").lower() == "true"
    return msgspec.structs.replace(answer, replayed=True) if replayed else answer


def model_of(response: httpx2.Response) -> ServedModel:
    """The model.

    Raises:
        RequestError: it is none.
    """
    return _decoded(response, ServedModel)


def health_of(response: httpx2.Response) -> Health:
    """The health, also of a service that fails.

    Raises:
        RequestError: it is none.
    """
    return _decoded(response, Health)


def check(response: httpx2.Response) -> httpx2.Response:
    """`response`, if it is a success.

    Raises:
        RequestError: the service, or what stands before it, refused.
    """
    if response.is_success:
        return response
    told = _error_of(response)
    raise RequestError(
        told.get("message") or f"{response.url.host} answered {response.status_code} {response.reason_phrase}.",
        status=response.status_code,
        code=told.get("code") or f"http_{response.status_code}",
        hint=told.get("hint") or "Is this the address of a bintally service?",
        retry_after_s=_retry_after_s(response),
    )


def _decoded(response: httpx2.Response, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(response.content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):  # msgspec.ValidationError is a DecodeError
        raise RequestError(
            f"{response.url.host} answered something that is no {kind.__name__}.",
            status=response.status_code,
            code="not_understood",
            hint="Is this the address of a bintally service, of about this version?",
        ) from None


def _error_of(response: httpx2.Response) -> dict[str, str]:
    try:
        error = msgspec.json.decode(response.content)["error"]
    except (msgspec.DecodeError, UnicodeDecodeError, LookupError, TypeError):  # a proxy's page
        return {}
    known = error.items() if isinstance(error, dict) else ()
    return {name: text for name, text in known if isinstance(text, str)}


def _retry_after_s(response: httpx2.Response) -> float | None:
    """Seconds; a date (which proxies may send) is not looked at."""
    told = response.headers.get("Retry-After", "")
    return float(told) if told.isascii() and told.isdecimal() else None


def _said(about: Mapping[str, Any]) -> dict[str, str]:
    """What is said of a photo, in words."""
    return {
        name: _word(name, value) for name, value in about.items() if value is not None and name != "idempotency_key"
    }


def _word(name: str, value: Any) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise UsageError(f"{name} has no time zone.", hint="Give it one, such as datetime.now(UTC).")
        return value.isoformat()
    return str(value)
