"""The refusals that several doors share, in one wording and one shape."""

import msgspec

from bintally.errors import BintallyError, PhotoError, RequestError


class ErrorDetail(msgspec.Struct, frozen=True):
    """What went wrong: a word for programs, a sentence, and the next step."""

    code: str
    message: str
    hint: str


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The one shape of every error."""

    error: ErrorDetail


def detail_of(error: BintallyError) -> tuple[int, ErrorDetail]:
    """HTTP's status for an error, and what every door tells of it."""
    if isinstance(error, RequestError):
        return error.status, ErrorDetail(error.code, error.message, error.hint)
    if isinstance(error, PhotoError):
        return 400, ErrorDetail("bad_photo", error.message, error.hint)
    return 500, ErrorDetail("internal", error.message, error.hint)


def too_large(max_photo_bytes: int) -> RequestError:
    """The refusal of a photo with more bytes than that."""
    return RequestError(
        f"The photo has more than {max_photo_bytes / 2**20:.3g} MB.",
        status=413,
        code="photo_too_large",
        hint="Scale it down: the model looks at a few hundred pixels a side.",
    )


def invalid(message: str, *, hint: str = "GET /openapi.json tells what is taken.") -> RequestError:
    """The refusal of a request that does not say what is wanted."""
    return RequestError(message, status=422, code="invalid_request", hint=hint)


def overloaded(retry_after_s: float) -> RequestError:
    """The refusal of one request more than can be waited for."""
    return RequestError(
        "The service has as many photos waiting as it can count in time.",
        status=503,
        code="overloaded",
        hint="Send it again after the seconds in Retry-After.",
        retry_after_s=retry_after_s,
    )


def stopping() -> RequestError:
    """The refusal of a request that came after the service was told to stop."""
    return RequestError(
        "The service is shutting down.",
        status=503,
        code="stopping",
        hint="Send it again: another will answer.",
        retry_after_s=1.0,
    )
