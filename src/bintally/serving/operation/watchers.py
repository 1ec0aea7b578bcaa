"""The watchers that a service has unless told otherwise."""

from bintally.serving.operation.metrics import Metrics
from bintally.serving.operation.readiness import Readiness
from bintally.serving.operation.requests import AccessLog
from bintally.serving.operation.tracing import Tracing, is_wanted
from bintally.serving.service import Watcher


def watchers() -> tuple[Watcher, ...]:
    """One of each; spans only where OpenTelemetry takes them."""
    return (Readiness(), Metrics(), AccessLog(), *([Tracing()] if is_wanted() else []))
