"""Prometheus metrics: counted as questions are answered, shown by `GET /metrics`.

Several workers write into files of one folder (prometheus-client's multiprocess mode, switched on by its environment
variable before this module is imported), and whichever is asked adds them up. Numbers of workers that ended stay in the
sums, so that counters never fall.
"""

import os
from pathlib import Path
from typing import Final, Literal, TypeVar
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.multiprocess import MultiProcessCollector

from bintally import __version__
from bintally.serving.answer import CountAnswer
from bintally.serving.asked import Asked
from bintally.serving.engine.engine import Engine
from bintally.serving.operation.health import problems_of
from bintally.serving.operation.readiness import unready
from bintally.serving.operation.requests import Seen, code_of
from bintally.serving.service import CountingService

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_PHOTOS: Final = (1, 2, 4, 8, 16, 32)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"})
_Metric = TypeVar("_Metric", bound=MetricWrapperBase)
_ALL: Final = "livesum"  # of the workers that live


class _Labelled(dict[tuple[str | int, ...], _Metric]):
    """A metric by the values of its labels, each looked up only once: that takes longer than counting does."""

    def __init__(self, metric: _Metric) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, values: tuple[str | int, ...]) -> _Metric:
        self[values] = child = self._metric.labels(*values)
        return child


class Metrics:
    """A `Watcher` that counts; `look` and `text` tell."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second line for each, which nobody reads
        self._registry = None if FOLDER_VARIABLE in os.environ else CollectorRegistry()
        self._requests = _Labelled(
            self._counter("requests", "Photos asked about, by how that ended.", "door", "outcome")
        )
        self._seconds = _Labelled(self._histogram("request_seconds", "From question to answer.", _SECONDS, "door"))
        self._parts = _Labelled(self._histogram("part_seconds", "Where that time went.", _SECONDS, "part"))
        self._bytes = self._counter("photo_bytes", "Bytes of photos that were sent.")
        self._counts = _Labelled(self._counter("counts", "Answers by count.", "count"))
        self._abstained = self._counter("abstentions", "Photos that were not taken for a bin.")
        self._verdicts = _Labelled(self._counter("verdicts", "Records judged.", "outcome"))
        self._degraded = self._counter("degraded", "Counts answered though something beside did not work.")
        self._http = _Labelled(self._counter("http_requests", "HTTP requests.", "method", "route", "status"))
        self._photos = self._histogram("request_photos", "Photos in one HTTP request that had any.", _PHOTOS)
        self._batches = _Labelled(self._counter("batches", "Inferences, by how many photos they had.", "photos"))
        self._under_way = self._gauge("under_way", "Questions that are not answered yet.")
        self._waiting = self._gauge("waiting_photos", "Photos that nobody works on yet.")
        self._working = self._gauge("working_photos", "Photos that are decoded or counted now.")
        self._resident = self._gauge("resident_bytes", "Memory the process holds.")
        self._ready = self._gauge("ready", "Workers that should get requests.")
        self._problems = self._gauge("problem", "1 where a part does not work just now.", "part", mode="livemax")
        self._model = self._gauge("model_info", "The model that counts.", "name", "sha256", "version", mode="livemax")
        self._version = self._gauge("model_version", "The version of a registry that counts.", "name", mode="livemax")
        self._changes = self._counter("model_changes", "Versions of a registry taken or refused.", "outcome")
        self._shadow = self._gauge("shadow_photos", "Photos that were to be counted in the shadow, too.", "outcome")
        self._known_problems: set[str] = set()
        self._known_model: tuple[str, ...] = ()
        self._known_version: str | None = None
        self._known_batches: WeakKeyDictionary[Engine, dict[int, int]] = WeakKeyDictionary()

    def spent(self, asked: Asked, part: str, seconds: float) -> None:
        """A part of a question took so long."""
        self._parts[part,].observe(seconds)

    def answered(self, asked: Asked, answer: CountAnswer, seconds: float) -> None:
        """A question was answered."""
        self._told(asked, "ok", seconds)
        if answer.timings is not None:
            for name in answer.timings.__struct_fields__:
                self._parts[name.removesuffix("_ms"),].observe(getattr(answer.timings, name) / 1000)
        if answer.abstain is not None:
            self._abstained.inc()
        elif answer.count is not None:
            self._counts[answer.count,].inc()
        if answer.verdict is not None:
            self._verdicts[answer.verdict.outcome,].inc()
        if answer.degraded:
            self._degraded.inc()

    def refused(self, asked: Asked, error: Exception, seconds: float) -> None:
        """A question was refused, or failed."""
        self._told(asked, code_of(error), seconds)

    def on_request(self, seen: Seen) -> None:
        """An HTTP request was answered."""
        method = seen.method if seen.method in _METHODS else "other"
        self._http[method, seen.route or "none", seen.status].inc()
        if seen.photos:
            self._photos.observe(seen.photos)

    def look(self, service: CountingService) -> None:
        """Takes down how the service is just now."""
        engine = service.models.default
        load = engine.load()
        self._under_way.set(service.under_way)
        self._waiting.set(load.waiting)
        self._working.set(load.working)
        self._look_at_batches(engine, load.batches)
        self._resident.set(_resident_bytes())
        self._ready.set(unready(service) is None)
        problems = set(problems_of(service))
        for part in problems | self._known_problems:
            self._problems.labels(part).set(part in problems)
        self._known_problems |= problems
        model = (engine.card.name, engine.card.model_sha256, __version__)
        if model != self._known_model:
            if self._known_model:
                self._model.labels(*self._known_model).set(0)
            self._model.labels(*model).set(1)
            self._known_model = model
        self._look_at_version(service.models.version_of(engine))
        if service.parts.shadow is not None:
            for outcome, photos in service.parts.shadow.photos().items():
                self._shadow.labels(outcome).set(photos)

    def followed(self, outcome: str) -> None:
        """A version of a registry was taken, or refused."""
        self._changes.labels(outcome).inc()

    def _look_at_batches(self, engine: Engine, batches: dict[int, int]) -> None:
        known = self._known_batches.get(engine, {})
        for photos, number in batches.items():
            self._batches[photos,].inc(number - known.get(photos, 0))
        self._known_batches[engine] = batches

    def _look_at_version(self, version: str | None) -> None:
        if version == self._known_version:
            return
        if self._known_version is not None:
            self._version.labels(self._known_version).set(0)
        if version is not None:
            self._version.labels(version).set(1)
        self._known_version = version

    def text(self) -> bytes:
        """All of it in Prometheus' text format; takes some milliseconds."""
        registry = self._registry
        if registry is None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def _told(self, asked: Asked, outcome: str, seconds: float) -> None:
        self._requests[asked.door, outcome].inc()
        self._seconds[asked.door,].observe(seconds)
        if asked.photo:
            self._bytes.inc(len(asked.photo))

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"bintally_{name}", about, labels, registry=self._registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"bintally_{name}", about, labels, buckets=buckets, registry=self._registry)

    def _gauge(self, name: str, about: str, *labels: str, mode: Literal["livesum", "livemax"] = _ALL) -> Gauge:
        return Gauge(f"bintally_{name}", about, labels, multiprocess_mode=mode, registry=self._registry)


def metrics_of(service: CountingService) -> Metrics | None:
    """The metrics among a service's watchers."""
    return next((each for each in service.parts.watchers if isinstance(each, Metrics)), None)


def _resident_bytes() -> int:
    """Memory this process holds; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 0
