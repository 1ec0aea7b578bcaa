"""OpenTelemetry spans, where somebody takes them: each HTTP request's (FastAPI makes those) with its parts inside.

Only the API is used; who starts the service chooses what becomes of spans (`opentelemetry-instrument bintally serve`).
A request with a `traceparent` header goes on with its sender's trace.
"""

import time
from typing import TYPE_CHECKING

from bintally import __version__
from bintally.serving.answer import CountAnswer
from bintally.serving.asked import Asked
from bintally.serving.operation.requests import code_of

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer


def is_wanted() -> bool:
    """Whether the package is installed, and whoever started the service takes spans."""
    try:
        from opentelemetry import trace
    except ImportError:
        return False
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


class Tracing:
    """A `Watcher` that adds to the current request's span what was counted, and its parts as spans of their own."""

    def __init__(self) -> None:
        self._tracer = _tracer()

    def spent(self, asked: Asked, part: str, seconds: float) -> None:
        """A part ended just now."""
        from opentelemetry import trace

        if trace.get_current_span().is_recording():
            ended = time.time_ns()
            self._tracer.start_span(part, start_time=ended - int(seconds * 1e9)).end(ended)

    def answered(self, asked: Asked, answer: CountAnswer, seconds: float) -> None:
        """A question was answered."""
        from opentelemetry import trace

        span = trace.get_current_span()
        if span.is_recording():
            span.set_attributes({"bintally.door": asked.door, "bintally.probability": answer.probability})
            told = {"request_id": asked.request_id, "model": answer.model, "count": answer.count, "bin": asked.bin_id}
            span.set_attributes({f"bintally.{key}": value for key, value in told.items() if value is not None})

    def refused(self, asked: Asked, error: Exception, seconds: float) -> None:
        """A question was refused, or failed."""
        from opentelemetry import trace

        trace.get_current_span().set_attributes({"bintally.request_id": asked.request_id, "error.type": code_of(error)})


def _tracer() -> "Tracer":
    from opentelemetry import trace

    return trace.get_tracer("bintally", __version__)
