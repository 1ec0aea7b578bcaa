"""A registry with a champion and a challenger in its shadow, a service that follows it, and askers."""

import asyncio
import http.client
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bintally.registry import shadow
from bintally.registry.shadow.pairs import SHADOW, Kept, folder_of, read_pairs
from bintally.serving.answer import CountAnswer
from bintally.serving.asked import Asked
from bintally.serving.assembly import build, running
from bintally.serving.service import CountingService
from bintally.serving.settings import ServeConfig
from bintally.serving.shadow.shadowing import Shadowing
from tests.bundles import bin_photo, make_bundle
from tests.databases import new_registry
from tests.registry.worlds import promoted, registered
from tests.serving.killing import PROGRAM, Served

WAIT_S = 60.0


def made(place: Path, *, percent: float | None = 100.0) -> Path:
    """A registry whose champion is 1; 2 is in its shadow (None: is not), 3 is there."""
    with new_registry(place) as registry:
        bundles = (make_bundle(place.parent / f"b{n}", sharpness=2.0 - n / 10, name=f"tiny-{n}") for n in (1, 2, 3))
        registered(registry, *bundles)
        promoted(registry, "1")
        if percent is not None:
            shadow.start(registry, "2", percent=percent, by="rita")
    return place


def pairs(place: Path, challenger: int = 2, champion: int = 1) -> Kept:
    """What was kept of two versions, by their numbers, which are the database's here."""
    return read_pairs(folder_of(place, challenger, champion))


def shadows(place: Path) -> set[str]:
    """Names of the folders of pairs."""
    return {path.name for path in (place / SHADOW).glob("*")}


def eventually(so: Callable[[], object], what: str, seconds: float = WAIT_S) -> None:
    """Returns as soon as something is so."""
    deadline = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


def shadow_pids(service_pid: int) -> list[int]:
    """Process ids of the shadow's process of a service."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            told = status.read_text()
            if f"PPid:\t{service_pid}\n" in told and b"spawn_main" in (status.parent / "cmdline").read_bytes():
                found.append(int(status.parent.name))
    return found


def niceness(pid: int) -> int:
    """How much a process gives way."""
    return os.getpriority(os.PRIO_PROCESS, pid)


def settings(place: Path, **more: object) -> dict[str, object]:
    """Of a service that follows a registry."""
    return {"registry": place, "follow_s": 0.1, "threads": 1, "state": place.parent / "state", **more}


class Following(Served):
    """`bintally serve --registry PLACE`; `more` settings as in `ServeConfig`."""

    def __init__(self, place: Path, **more: object) -> None:
        super().__init__(place, program=PROGRAM, **settings(place, **more))
        self._command.remove(str(place))

    @property
    def address(self) -> str:
        """Host and port."""
        assert self.url is not None
        return urlsplit(self.url).netloc

    def ask_many(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Answers by request id, one after the other."""
        answers = {}
        with closing(http.client.HTTPConnection(self.address, timeout=WAIT_S)) as connection:
            for place, name in enumerate(names):
                answer = ask(connection, name, seed=place)
                assert answer is not None
                answers[name] = answer
        return answers


class Here:
    """A service that follows a registry, in this process."""

    def __init__(self, service: CountingService, loop: asyncio.AbstractEventLoop) -> None:
        self.service, self._loop = service, loop

    @property
    def shadow(self) -> Shadowing:
        """Its shadow."""
        assert isinstance(self.service.parts.shadow, Shadowing)
        return self.service.parts.shadow

    @property
    def pids(self) -> list[int]:
        """Of the shadow's process."""
        return shadow_pids(os.getpid())

    def ask(self, name: str, *, seed: int = 0, **more: Any) -> CountAnswer:
        """The answer to a question."""
        photo = bin_photo(seed % 6, image_format="JPEG", seed=seed)
        asking = self.service.count(Asked(photo=photo, request_id=name, **more))
        return asyncio.run_coroutine_threadsafe(asking, self._loop).result(WAIT_S)


@contextmanager
def here(place: Path, **more: object) -> Iterator[Here]:
    """Such a service, until the block ends; `more` settings as in `ServeConfig`."""
    config = ServeConfig.of(settings(place, **more))
    started, loops = threading.Event(), []
    service = build(config)

    async def serve() -> None:
        ended = asyncio.Event()
        async with running(service):
            loops.append((asyncio.get_running_loop(), ended))
            started.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert started.wait(WAIT_S)
        yield Here(service, loops[0][0])
    finally:
        loops[0][0].call_soon_threadsafe(loops[0][1].set)
        thread.join(WAIT_S)
        assert not thread.is_alive()


class Asker(threading.Thread):
    """Asks one question after the other, until told to stop; `answers` by request id."""

    def __init__(self, address: str, name: str, *, pause_s: float = 0.01) -> None:
        super().__init__(name=name, daemon=True)
        self._address, self._pause_s = address, pause_s
        self.is_over = threading.Event()
        self.answers: dict[str, dict[str, Any]] = {}
        self.failures: list[str] = []

    def run(self) -> None:
        with closing(http.client.HTTPConnection(self._address, timeout=WAIT_S)) as connection:
            self._ask(connection)

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        number = 0
        while not self.is_over.is_set() and number < 100_000:
            number += 1
            request_id = f"{self.name}-{number}"
            try:
                answer = ask(connection, request_id, seed=number % 60)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{request_id}: {error!r}")
                return
            if answer is None:
                self.failures.append(f"{request_id}: refused")
                return
            self.answers[request_id] = answer
            time.sleep(self._pause_s)


def ask(connection: http.client.HTTPConnection, request_id: str, *, seed: int = 0) -> dict[str, Any] | None:
    """One question; None: it was refused."""
    photo = bin_photo(seed % 6, image_format="JPEG", seed=seed)
    connection.request("POST", "/v1/counts", photo, {"Content-Type": "image/jpeg", "X-Request-Id": request_id})
    response = connection.getresponse()
    body = response.read()
    return json.loads(body) if response.status == 200 else None
