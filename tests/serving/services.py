"""Services for tests: made of a loaded model and settings, in this process, with no port."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi.testclient import TestClient

from bintally.counting.counter import Counter
from bintally.serving.assembly import build, make_engine, running
from bintally.serving.http.app import create_app
from bintally.serving.models import Models
from bintally.serving.service import CountingService
from bintally.serving.settings import ServeConfig

URL = "http://127.0.0.1:8080"
"""Without keys, a service is asked by a loopback name only (`serving.http.guards.browsers`)."""


def service_of(counter: Counter, **settings: Any) -> CountingService:
    """A service that counts with `counter`, which its bundle is loaded from only once."""
    config = ServeConfig.of({"bundle": counter.bundle.folder, "threads": 1, **settings})
    return build(config, Models(config.bundle, lambda each: make_engine(each, config), threads=1))


@contextmanager
def client_of(counter: Counter, **settings: Any) -> Iterator[TestClient]:
    """A client of the whole app around such a service, started and ended like a real one."""
    config = ServeConfig.of({"bundle": counter.bundle.folder, "threads": 1, **settings})
    service = service_of(counter, **settings)
    with TestClient(create_app(service, config, lifespan=lambda _: running(service)), base_url=URL) as client:
        yield client
