"""The load client, the same for every system: one process, raw HTTP/1.1 over kept-alive connections, whole photos sent.

It writes requests made beforehand and reads no more of an answer than its status and length, so that it takes little of
the cores which the system under load has.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

GIVE_UP_S: Final = 60.0
MAX_CONNECTIONS: Final = 256
_HEAD_END: Final = b"\r\n\r\n"


@dataclass
class Answers:
    """What came back: latencies of the photos that were counted, how many were not, and how long all of it took."""

    latencies_ms: list[float] = field(default_factory=list)
    failed: int = 0
    wall_s: float = 0.0

    @property
    def photos_per_s(self) -> float:
        """Counted photos a second."""
        return len(self.latencies_ms) / self.wall_s

    def percentile_ms(self, percent: float) -> float:
        """A percentile of the latencies; infinite where a part of that size failed: a refusal is no fast answer."""
        latencies = [*self.latencies_ms, *[float("inf")] * self.failed]
        return float(np.percentile(latencies, percent, method="higher"))

    def add(self, status: int, latency_s: float) -> None:
        """One more."""
        if status == 200:
            self.latencies_ms.append(1000 * latency_s)
        else:
            self.failed += 1


def request_of(path: str, photo: bytes, port: int, *, part: str = "") -> bytes:
    """A request whose body is a photo's bytes, or a form with them as its `part`."""
    kind, body = "image/jpeg", photo
    if part:
        kind, line = "multipart/form-data; boundary=of-the-benchmark", b"--of-the-benchmark"
        about = f'Content-Disposition: form-data; name="{part}"; filename="a.jpg"\r\nContent-Type: image/jpeg'
        body = b"\r\n".join((line, about.encode(), b"", photo, line + b"--", b""))
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection(asyncio.Protocol):
    """A kept-alive connection that asks one thing at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    @classmethod
    async def to(cls, port: int) -> "Connection":
        """A connection to this machine's `port`."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return connection

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer; status 0: there was none."""
        if self._transport is None or self._transport.is_closing():
            return 0, b""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await asyncio.wait_for(self._answer, GIVE_UP_S)
        except TimeoutError:
            self.close()
            return 0, b""

    def close(self) -> None:
        """Ends it."""
        if self._transport is not None:
            self._transport.close()

    @property
    def is_open(self) -> bool:
        """Whether it can be asked again."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio calls it."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP is one
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        """As asyncio calls it."""
        self._tell(0, b"")

    def data_received(self, data: bytes) -> None:
        """As asyncio calls it."""
        self._received += data
        head, found, rest = bytes(self._received).partition(_HEAD_END)
        if not found:
            return
        body = _whole_body(head.lower(), rest)
        if body is not None:
            self._received.clear()
            self._tell(int(head[9:12]), body)

    def _tell(self, status: int, body: bytes) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((status, body))


def _whole_body(head: bytes, rest: bytes) -> bytes | None:
    """The body, once it is all there. A chunked one keeps its chunk sizes: nobody here reads it."""
    if b"transfer-encoding: chunked" in head:
        return rest if rest.endswith(b"0" + _HEAD_END) else None
    _, found, length = head.partition(b"content-length:")
    wanted = int(length.split(b"\r\n", 1)[0]) if found else 0
    return rest if len(rest) >= wanted else None


async def one_by_one(
    port: int, requests: Sequence[bytes], *, beside: Callable[[int], object], seconds: float
) -> tuple[Answers, list[float]]:
    """One connection; after each answer `beside(place)` does the same work here.

    Returns the answers, and by how many ms each took longer than the work beside it: whatever else the machine does
    meets both.
    """
    answers, longer_ms, connection = Answers(), list[float](), await Connection.to(port)
    started = time.perf_counter()
    for place in itertools.cycle(range(len(requests))):
        sent = time.perf_counter()
        if sent >= started + seconds:
            break
        status, _ = await connection.ask(requests[place])
        answered = time.perf_counter()
        beside(place)
        answers.add(status, answered - sent)
        longer_ms.append(1000 * (2 * answered - sent - time.perf_counter()))
    answers.wall_s = time.perf_counter() - started
    connection.close()
    return answers, longer_ms


async def saturated(port: int, requests: Sequence[bytes], *, connections: int, seconds: float) -> Answers:
    """So many connections, each sends its next request once its last is answered: a closed loop."""
    answers, turn = Answers(), itertools.cycle(requests)
    opened = [await Connection.to(port) for _ in range(connections)]
    started = time.perf_counter()
    until = started + seconds

    async def ask_on(connection: Connection) -> None:
        while (sent := time.perf_counter()) < until:
            if not connection.is_open:
                connection = await Connection.to(port)
            status, _ = await connection.ask(next(turn))
            answers.add(status, time.perf_counter() - sent)
        connection.close()

    await asyncio.gather(*map(ask_on, opened))
    answers.wall_s = time.perf_counter() - started
    return answers


async def poisson(port: int, requests: Sequence[bytes], *, rate_per_s: float, seconds: float, seed: int) -> Answers:
    """Requests at random moments, `rate_per_s` on average, whether earlier ones are answered or not: an open loop.

    Latency counts from the moment a request was due, so that a client which falls behind hides nothing.
    """
    answers, turn, idle = Answers(), itertools.cycle(requests), list[Connection]()
    room = asyncio.Semaphore(MAX_CONNECTIONS)

    async def ask(due: float) -> None:
        async with room:
            connection = idle.pop() if idle else await Connection.to(port)
            status, _ = await connection.ask(next(turn))
            answers.add(status, time.perf_counter() - due)
            if connection.is_open:
                idle.append(connection)

    asking, started = list[asyncio.Task[None]](), time.perf_counter()
    for offset_s in moments(rate_per_s, seconds, seed):
        due = started + offset_s
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        asking.append(asyncio.create_task(ask(due)))
    await asyncio.gather(*asking)
    answers.wall_s = time.perf_counter() - started
    for connection in idle:
        connection.close()
    return answers


def moments(rate_per_s: float, seconds: float, seed: int) -> Iterator[float]:
    """When the requests of `poisson` are due, in seconds from its start."""
    chance, moment = random.Random(seed), 0.0
    while (moment := moment + chance.expovariate(rate_per_s)) < seconds:
        yield moment
