"""The drive: every robot a task, every photo sent when it is due, whatever became of those before."""

import asyncio
import secrets
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import msgspec

from bintally.errors import UsageError
from bintally.progress import SILENT, Progress, Task
from bintally.simulation.robots.book import Book, Shot
from bintally.simulation.robots.http_door import HttpDoor
from bintally.simulation.robots.pool import Pool
from bintally.simulation.robots.probe import broker_of, probe_http, probe_mqtt
from bintally.simulation.robots.route import Stop, photos_of, route
from bintally.simulation.robots.settings import FleetSettings

_AT_ONCE: Final = 32  # robots that connect at the same time
_SOON_S: Final = 0.2  # between the last connection and the start
_NOTE_S: Final = 0.5
_FILES: Final = (2, 64)  # open files of a robot, of everything else


class Door(Protocol):
    """How one robot reaches the service."""

    async def open(self) -> None:
        """Connects."""

    async def deliver(self, shot: Shot) -> None:
        """Sends a photo until it is answered or its time is over."""

    async def close(self) -> None:
        """Ends the connection."""


class Drive(msgspec.Struct, frozen=True, kw_only=True):
    """What happened: the book, the start (of `time.perf_counter()`), and what the generator itself took."""

    book: Book
    start: float
    wall_s: float
    cpu_s: float


async def drive(
    settings: FleetSettings, pool: Pool, *, key: str | None = None, progress: Progress = SILENT, is_probed: bool = False
) -> Drive:
    """Lets the fleet drive, once. `is_probed`: somebody has looked whether the service is there.

    Raises:
        UsageError: a URL, key or broker that is none, or more robots than the system lets connect.
        RequestError: the service or its broker is not there, or refuses.
        MissingExtraError: robots are to publish, and paho-mqtt is not installed.
    """
    _allow_files(settings.robots * _FILES[0] + _FILES[1])
    fleet = _Fleet(settings, pool, key)
    if not is_probed:
        await fleet.probe()
    total = photos_of(settings, pictures=len(pool))
    try:
        await fleet.open()
        with progress.task("robots", total=total, unit="photos") as task:
            return await fleet.drive(task)
    finally:
        await fleet.close()


class _Fleet:
    def __init__(self, settings: FleetSettings, pool: Pool, key: str | None) -> None:
        self._settings, self._pool, self._key = settings, pool, key
        self._name = f"sim-{secrets.token_hex(4)}"  # a service answers a photo of an earlier drive as it did then
        self._tls = ssl.create_default_context()  # one for all: each takes longer to make than a photo to count
        self._advance: Callable[[], None] = lambda: None
        self._book = Book(lambda: self._advance())
        self._broker = None if settings.mqtt is None else broker_of(settings)
        self._doors: list[Door] = []

    async def probe(self) -> None:
        if self._settings.url is not None:
            photo = self._pool.photo(0, self._name)
            await probe_http(self._settings, photo, name=self._name, key=self._key, tls=self._tls)
        if self._broker is not None:
            await probe_mqtt(self._settings, self._broker, name=self._name)

    async def open(self) -> None:
        self._doors = [self._door(robot) for robot in range(self._settings.robots)]
        await _some_at_once([door.open for door in self._doors])

    async def close(self) -> None:
        await _some_at_once([door.close for door in self._doors])

    async def drive(self, task: Task) -> Drive:
        self._advance = task.advance
        start, cpu_s = time.perf_counter() + _SOON_S, time.process_time()
        begun = datetime.now(UTC) + timedelta(seconds=_SOON_S)
        noting = asyncio.create_task(self._note(task))
        try:
            async with asyncio.TaskGroup() as group:
                for robot, door in enumerate(self._doors):
                    group.create_task(self._robot(robot, door, start, begun, group))
        finally:
            noting.cancel()
        wall_s = time.perf_counter() - start
        return Drive(book=self._book, start=start, wall_s=wall_s, cpu_s=time.process_time() - cpu_s)

    def _door(self, robot: int) -> Door:
        if self._broker is not None and (self._settings.url is None or robot % 2):
            from bintally.simulation.robots.mqtt_door import MqttDoor

            return MqttDoor(self._settings, self._book, self._broker, self._name_of(robot))
        return HttpDoor(self._settings, self._book, key=self._key, tls=self._tls)

    def _name_of(self, robot: int) -> str:
        return f"{self._name}-{robot:04d}"

    async def _robot(self, robot: int, door: Door, start: float, begun: datetime, group: asyncio.TaskGroup) -> None:
        for number, stop in enumerate(route(robot, self._settings, pictures=len(self._pool))):
            await asyncio.sleep(max(start + stop.due_s - time.perf_counter(), 0))
            for shot in self._shots(stop, f"{self._name_of(robot)}-{number:06d}", start, begun):
                group.create_task(door.deliver(shot))

    def _shots(self, stop: Stop, name: str, start: float, begun: datetime) -> Iterator[Shot]:
        bins = self._settings.bins
        for place, photo in enumerate(stop.photos):
            photo_id = name if len(stop.photos) == 1 else f"{name}.{place}"
            yield Shot(
                id=photo_id,
                photo=self._pool.photo(photo.picture, photo_id, is_damaged=stop.kind == "damaged"),
                kind=stop.kind,
                due=start + stop.due_s,
                bin_id=bins[photo.bin] if bins else None,
                site=self._settings.site,
                recorded_count=self._pool.recorded_count(photo.picture),
                captured_at=begun + timedelta(seconds=photo.taken_s),
                away_s=stop.away_s,
            )

    async def _note(self, task: Task) -> None:
        while True:
            await asyncio.sleep(_NOTE_S)
            task.note(f"{self._book.waiting:,} wait, {sum(self._book.tries.values()):,} tried again")


async def _some_at_once(calls: Sequence[Callable[[], Awaitable[None]]]) -> None:
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(call: Callable[[], Awaitable[None]]) -> None:
        async with turn:
            await call()

    tasks = [asyncio.create_task(one(call)) for call in calls]
    try:
        await asyncio.gather(*tasks)
    finally:  # whoever is still at it when one has failed
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _allow_files(wanted: int) -> None:
    """Raises the limit on open files, as far as may be.

    Raises:
        UsageError: more are not allowed.
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted or soft == resource.RLIM_INFINITY:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise UsageError(
            f"So many robots need {wanted:,} open files, and {hard:,} are allowed.", hint="See `ulimit -Hn`."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
