"""What the headers of a request say, each said once."""

import math
from typing import Final

from starlette.datastructures import Headers

from bintally.errors import RequestError
from bintally.serving.refusals import invalid

REQUEST_TIMEOUT: Final = "Request-Timeout"
"""Seconds after which the client no longer waits for the answer; the service's own limit stays."""

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
IDEMPOTENCY_REPLAYED: Final = "Idempotency-Replayed"
"""Says `true` where an answer was given before, to the same key."""


def single(headers: Headers, name: str) -> str | None:
    """The value of a header that may come once; None: it does not.

    Raises:
        RequestError: 400, it came more than once.
    """
    values = headers.getlist(name)
    if len(values) > 1:
        raise RequestError(
            f"The header {name} came {len(values)} times.", status=400, code="invalid_request", hint="Send it once."
        )
    return values[0] if values else None


def allowed_s(headers: Headers, most_s: float) -> float:
    """Seconds that the answer may take: `Request-Timeout`, at most `most_s`.

    Raises:
        RequestError: 422, it is no number of seconds above 0.
    """
    told = single(headers, REQUEST_TIMEOUT)
    if told is None:
        return most_s
    try:
        seconds = float(told) if told.isascii() else math.nan
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise invalid(f"{REQUEST_TIMEOUT}: {told[:40]!r} is no number of seconds above 0.", hint="Such as 2.5.")
    return min(seconds, most_s)


def best_accepted(headers: Headers, offered: tuple[str, ...]) -> str:
    """Of the media types `offered`, the one that `Accept` (RFC 9110, 12.5.1) likes best; the first where it is all one.

    Raises:
        RequestError: 406, it takes none of them.
    """
    told = ", ".join(headers.getlist("accept"))
    if told.strip() in ("", "*/*"):
        return offered[0]
    ranges = [_range(part) for part in told.split(",") if part.strip()]
    quality = {kind: _quality(kind, ranges) for kind in offered}
    best = max(offered, key=lambda kind: quality[kind])
    if not quality[best]:
        raise RequestError(
            f"An answer in {told[:80]!r} can't be given.",
            status=406,
            code="not_acceptable",
            hint=f"Accept {' or '.join(offered)}.",
        )
    return best


def _range(part: str) -> tuple[str, float]:
    """`"image/png;q=0.5"` as `("image/png", 0.5)`."""
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return kind, min(max(float(parameter[2:]), 0.0), 1.0)
            except ValueError:
                return kind, 1.0
    return kind, 1.0


def _quality(kind: str, ranges: list[tuple[str, float]]) -> float:
    """How well `kind` is liked, by the range that speaks of it most closely."""
    for wanted in (kind, f"{kind.partition('/')[0]}/*", "*/*"):
        for name, quality in ranges:
            if name == wanted:
                return quality
    return 0.0
