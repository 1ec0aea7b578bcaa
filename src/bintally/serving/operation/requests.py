"""HTTP requests as operators see them: one line in the log and one number in the metrics for each."""

import logging
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bintally.errors import BintallyError
from bintally.serving.answer import CountAnswer
from bintally.serving.asked import Asked
from bintally.serving.operation.logs import FIELDS
from bintally.serving.refusals import detail_of

_PROBES: Final = ("/health", "/ping", "/metrics", "/v2/health")
_LONGEST_PATH: Final = 200
_log: Final = logging.getLogger("bintally.access")


class Seen(msgspec.Struct, kw_only=True):
    """What is known of one HTTP request; `facts` are those of the photo it asked about, of the last if several."""

    method: str
    path: str  # without the query, which may hold what is nobody's business
    route: str = ""  # the path's pattern; "": none fits
    status: int = 500  # as long as nothing was answered
    seconds: float = 0.0
    request_id: str = ""
    client: str = ""
    photos: int = 0
    photo_bytes: int = 0
    facts: dict[str, Any] = {}

    def fields(self) -> dict[str, Any]:
        """The fields of its line in the log."""
        who = {"request_id": self.request_id, "client": self.client}
        photos = {"photos": self.photos, "photo_bytes": self.photo_bytes} if self.photos else {}
        facts = self.facts if self.photos == 1 else {}
        said = {"method": self.method, "path": self.path[:_LONGEST_PATH], "status": self.status}
        took = {"ms": _ms(self.seconds)}
        return {**{key: value for key, value in who.items() if value}, **said, **took, **photos, **facts}


_seen: Final[ContextVar[Seen | None]] = ContextVar("seen", default=None)


class ObservedRequests:
    """ASGI middleware, the outermost: tells `on_request` of each request when its answer is sent."""

    def __init__(self, app: ASGIApp, *, on_request: Callable[[Seen], None]) -> None:
        self._app, self._on_request = app, on_request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI calls an app."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen = Seen(method=scope["method"], path=scope["path"])
        token = _seen.set(seen)
        started = time.perf_counter()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.status = message["status"]
                seen.request_id = _header(message, b"x-request-id")
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            _seen.reset(token)
            seen.seconds = time.perf_counter() - started
            seen.route = getattr(scope.get("route"), "path", "")
            seen.client = scope.get("state", {}).get("client", "")
            _write(seen)
            self._on_request(seen)


class AccessLog:
    """A `Watcher` that puts what was counted into the request's line; a door without HTTP has a line of its own."""

    def spent(self, asked: Asked, part: str, seconds: float) -> None:
        """The line has the whole time only."""

    def answered(self, asked: Asked, answer: CountAnswer, seconds: float) -> None:
        """A question was answered."""
        facts = {
            "count": answer.count,
            "probability": round(answer.probability, 4),
            "abstain": answer.abstain,
            "verdict": answer.verdict.outcome if answer.verdict else None,
            "degraded": list(answer.degraded) or None,
            "model": answer.model,
        }
        self._told(asked, facts, seconds)

    def refused(self, asked: Asked, error: Exception, seconds: float) -> None:
        """A question was refused, or failed."""
        self._told(asked, {"error": code_of(error)}, seconds)

    def _told(self, asked: Asked, facts: dict[str, Any], seconds: float) -> None:
        about = {"door": asked.door, "bin_id": asked.bin_id, **facts}
        known = {key: value for key, value in about.items() if value is not None}
        size = len(asked.photo or b"")
        seen = _seen.get()
        if seen is not None:
            seen.photos += 1
            seen.photo_bytes += size
            seen.facts = known
            return
        who = {"request_id": asked.request_id, **({"client": asked.client} if asked.client else {})}
        fields = {**who, "ms": _ms(seconds), "photo_bytes": size, **known}
        _log.info("request", extra={FIELDS: fields})


def code_of(error: Exception) -> str:
    """The word for programs that says what went wrong, as in the answer."""
    return detail_of(error)[1].code if isinstance(error, BintallyError) else "internal"


def _write(seen: Seen) -> None:
    is_probe = seen.path.startswith(_PROBES) and seen.status == 200
    level = logging.DEBUG if is_probe else logging.INFO
    if _log.isEnabledFor(level):
        _log.log(level, "request", extra={FIELDS: seen.fields()})


def _header(message: Message, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in message.get("headers", ()) if key.lower() == name), "")


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 2)
