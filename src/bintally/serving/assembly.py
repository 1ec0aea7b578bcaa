"""A service made of its settings: the one place where parts are chosen and put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bintally.counting.counter import Counter
from bintally.serving.engine.engine import AT_ONCE, Engine, PlainEngine
from bintally.serving.fetching.fetcher import HostFetcher
from bintally.serving.models import Models
from bintally.serving.service import CountingService, Parts
from bintally.serving.settings import ServeConfig


def build(config: ServeConfig, models: Models | None = None) -> CountingService:
    """The service that `config` describes. `models`: already loaded ones.

    Raises:
        BundleError: no usable model.
        UsageError: settings that make no sense together.
    """
    return CountingService(
        models or Models(config.bundle, lambda counter: make_engine(counter, config), threads=config.threads),
        Parts(fetcher=HostFetcher(config.allow_url) if config.allow_url else None),
        max_photo_bytes=config.max_photo_bytes,
        max_waiting=config.max_waiting,
        max_waiting_bytes=config.max_waiting_mb * 2**20,
    )


def make_engine(counter: Counter, config: ServeConfig) -> Engine:
    """What counts with `counter`, as `config` wants it."""
    return PlainEngine(counter, at_once=config.threads or AT_ONCE)


@asynccontextmanager
async def running(service: CountingService) -> AsyncIterator[None]:
    """What runs beside requests, in the event loop that answers them: started here, ended here."""
    try:
        yield
    finally:
        service.is_stopping = True
        await service.models.close()
