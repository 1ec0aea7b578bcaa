"""A service with an MQTT door, in this process."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bintally.counting.counter import Counter
from bintally.serving.assembly import running
from bintally.serving.service import CountingService
from bintally.serving.settings import ServeConfig
from tests.serving.services import service_of


@contextmanager
def serving(counter: Counter, state: Path, broker: str, **settings: Any) -> Iterator[CountingService]:
    """A service with an MQTT door, in a thread with an event loop of its own."""
    settings = {"state": state, "mqtt": broker, "shutdown_s": 5.0, **settings}
    service = service_of(counter, **settings)
    config = ServeConfig.of({"bundle": counter.bundle.folder, "threads": 1, **settings})
    is_up, end = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        async with running(service, config):
            is_up.set()
            await end.wait()

    thread = threading.Thread(target=asyncio.run, args=[run()])
    thread.start()
    assert is_up.wait(20)
    try:
        yield service
    finally:
        loops[0].call_soon_threadsafe(end.set)
        thread.join(30)
