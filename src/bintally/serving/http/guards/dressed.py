"""`Dressed`: the outermost layer, which gives each request its name and each answer the headers that browsers obey."""

import re
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bintally.serving.asked import new_id
from bintally.serving.http.guards.rates import Left, rate_headers
from bintally.serving.http.guards.said import Said

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_UNLESS_SAID: Final = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
_HTTPS: Final = (b"strict-transport-security", b"max-age=31536000")


class Dressed:
    """Leaves in a request's state `request_id` (the caller's `X-Request-Id`, if it is a plain word) and `said`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["said"] = said = Said.of(scope["headers"])
        state["request_id"] = _name(said.request_id)

        async def send_dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = dressed(message.get("headers", ()), scope)
            await send(message)

        await self._app(scope, receive, send_dressed)


def dressed(headers: list[tuple[bytes, bytes]], scope: Scope) -> list[tuple[bytes, bytes]]:
    """An answer's headers, and those that every answer has."""
    there = {name for name, _ in headers}
    state = scope["state"]
    told = [*headers, *_ALWAYS, *(each for each in _UNLESS_SAID if each[0] not in there)]
    if b"x-request-id" not in there:
        told.append((b"x-request-id", state["request_id"].encode()))
    left: Left | None = state.get("rate_limit")
    if left is not None:
        told += rate_headers(left)
    if scope["scheme"] == "https":
        told.append(_HTTPS)
    return told


def _name(given: str | None) -> str:
    return given if given is not None and _REQUEST_ID.fullmatch(given) else new_id()
