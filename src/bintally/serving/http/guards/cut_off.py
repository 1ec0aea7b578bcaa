"""`CutOff`: what is still under way when a stop has waited long enough is told so, and sent to another service."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bintally.serving.http.errors import refusal
from bintally.serving.refusals import stopping


class CutOff:
    """Answers a request that is cancelled before its answer has begun: 503, as those that come during the stop."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        has_begun = False

        async def sending(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except asyncio.CancelledError:
            if has_begun or scope["type"] != "http":
                raise
            response = refusal(stopping(), path=scope["path"])
            response.headers["Connection"] = "close"  # the rest of the request was not read
            await response(scope, receive, send)
