"""What the service says of itself to probes and to people."""

import os
import threading
import time
from pathlib import Path
from typing import Final, Literal, Self

import msgspec

from bintally import __version__
from bintally.serving.operation.readiness import unready
from bintally.serving.service import CountingService
from bintally.serving.settings import ServeConfig

KEPT: Final = ("capture", "spool")
"""Folders of the state folder whose sizes are told."""

SIZES_S: Final = 10.0
"""Sizes are so old at most: many files take a while to look at, and probes come every second."""


class HealthReport(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /health`. With several workers each tells of itself.

    `status`: `degraded` counts, but `problems` (by part) says what does not work; `failing` does not count.
    """

    status: Literal["ok", "degraded", "failing"]
    problems: dict[str, str]
    model: str
    model_sha256: str
    version: str
    uptime_s: float
    worker: int  # its process id
    workers: int
    under_way: int  # questions
    waiting: int  # photos that nobody works on yet
    working: int  # photos that are decoded or counted now
    kept_bytes: dict[str, int]  # in the state folder
    model_version: str | None = None  # of a registry

    @classmethod
    def of(cls, service: CountingService, config: ServeConfig, *, started: float, kept_bytes: dict[str, int]) -> Self:
        """The report of a service that was `started` at that moment of `time.monotonic()`."""
        engine, why = service.models.default, unready(service)
        load, problems = engine.load(), problems_of(service)
        if why is not None:
            problems["service"] = why
        return cls(
            status="failing" if why is not None else "degraded" if problems else "ok",
            problems=problems,
            model=engine.card.name,
            model_sha256=engine.card.model_sha256,
            version=__version__,
            uptime_s=round(time.monotonic() - started, 1),
            worker=os.getpid(),
            workers=config.workers,
            under_way=service.under_way,
            waiting=load.waiting,
            working=load.working,
            kept_bytes=kept_bytes,
            model_version=service.models.version_of(engine),
        )


def problems_of(service: CountingService) -> dict[str, str]:
    """What does not work just now, by part, in words."""
    damaged = service.models.damaged
    return {**service.failures, **({} if damaged is None else {"model": damaged})}


class KeptBytes:
    """The sizes of what is kept in the state folder."""

    def __init__(self, state_folder: Path) -> None:
        self._folder = state_folder
        self._sizes: dict[str, int] = {}
        self._looked = float("-inf")
        self._lock = threading.Lock()  # or probes that come together would each look

    def get(self) -> dict[str, int]:
        """Bytes by folder, those that are there; may take a while."""
        with self._lock:
            if time.monotonic() - self._looked >= SIZES_S:
                present = [name for name in KEPT if (self._folder / name).is_dir()]
                self._sizes = {name: _bytes_in(self._folder / name) for name in present}
                self._looked = time.monotonic()
            return self._sizes


def _bytes_in(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).stat().st_size
            except OSError:  # it went since it was listed
                continue
    return total
