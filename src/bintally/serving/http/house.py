"""What the HTTP endpoints share: the service, and how a request becomes the question it asks."""

import time
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from bintally.serving.answer import CountAnswer
from bintally.serving.asked import JSON_TYPE, new_id
from bintally.serving.service import CountingService
from bintally.serving.settings import ServeConfig


class House:
    """The service and its settings, as endpoints take them."""

    def __init__(self, service: CountingService, config: ServeConfig) -> None:
        self.service, self.config = service, config

    def about(self, request: Request) -> dict[str, Any]:
        """The fields of `Asked` that every request has: who asks, by when the answer is wanted, under which name."""
        state = request.scope.get("state", {})
        return {
            "client": state.get("client", ""),
            "request_id": state.get("request_id") or new_id(),
            "idempotency_key": request.headers.get("idempotency-key"),
            "content_type": request.headers.get("content-type", ""),
            "deadline": time.monotonic() + self.config.timeout_s,
        }


def counted(answer: CountAnswer) -> Response:
    """An answer as a response."""
    return Response(answer.to_json(), media_type=JSON_TYPE, headers={"X-Request-Id": answer.request_id})
