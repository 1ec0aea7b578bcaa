"""Spans, seen by the SDK's exporter in memory; and the service without the package."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bintally.counting.counter import Counter
from bintally.serving.operation.tracing import Tracing
from bintally.serving.operation.watchers import watchers
from tests.bundles import bin_photo
from tests.conftest import ROOT
from tests.serving.services import client_of

PNG = {"Content-Type": "image/png"}


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What a provider of this test's own exports; OpenTelemetry itself lets a process have only one."""
    found = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield found
    provider.shutdown()


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def test_a_request_is_a_span_of_its_senders_trace_with_its_parts_inside(
    counter: Counter, exporter: InMemorySpanExporter
) -> None:
    sender = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    with client_of(counter) as client:
        answer = client.post("/invocations", content=bin_photo(2), headers={**PNG, **sender}).json()
    spans = by_name(exporter)
    whole, count = spans["POST /invocations"], spans["count"]
    assert whole.context and whole.parent and count.parent
    assert f"{whole.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{whole.parent.span_id:016x}" == "b7ad6b7169203331"
    assert whole.kind is trace.SpanKind.SERVER
    said = dict(whole.attributes or {})
    assert said["http.route"] == "/invocations"
    assert said["http.response.status_code"] == 200
    assert (said["bintally.count"], said["bintally.request_id"]) == (2, answer["request_id"])
    assert count.parent.span_id == whole.context.span_id
    assert whole.start_time and whole.end_time and count.start_time and count.end_time
    assert whole.start_time <= count.start_time <= count.end_time <= whole.end_time


def test_a_refusal_says_why_and_only_our_faults_are_errors(counter: Counter, exporter: InMemorySpanExporter) -> None:
    with client_of(counter) as client:
        client.post("/invocations", content=b"no photo", headers=PNG)
    span = by_name(exporter)["POST /invocations"]
    assert dict(span.attributes or {})["error.type"] == "bad_photo"
    assert span.status.status_code is trace.StatusCode.UNSET


def test_where_nobody_takes_spans_none_are_made() -> None:
    assert not any(isinstance(each, Tracing) for each in watchers())


def test_without_the_package_the_service_counts_all_the_same() -> None:
    code = (
        "import sys\n"
        "sys.modules['opentelemetry'] = None\n"  # as if it were not installed
        "from bintally.serving.operation.watchers import watchers\n"
        "print([type(each).__name__ for each in watchers()])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "Tracing" not in done.stdout
    assert "Metrics" in done.stdout
