"""A service whose memory, threads and files are looked at from outside, and clients that stay connected to it."""

import http.client
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import numpy as np
import psutil

from tests.serving.killing import Served

TIMEOUT_S = 60.0
"""An answer that takes longer is none: the service hangs."""

MB = 2**20


class Held(NamedTuple):
    """What a service holds, with its workers."""

    resident_mb: float
    threads: int
    files: int


class Watched(Served):
    """`bintally serve`, looked at; `settings` as in `ServeConfig`."""

    def held(self) -> Held:
        """What it holds now."""
        there = self._processes()
        return Held(
            sum(each.memory_info().rss for each in there) / MB,
            sum(each.num_threads() for each in there),
            sum(each.num_fds() for each in there),
        )

    def forget_peak(self) -> None:
        """`peak_mb` begins anew."""
        for each in self._processes():
            Path(f"/proc/{each.pid}/clear_refs").write_text("5")

    def peak_mb(self) -> float:
        """The most memory it held at a moment since then."""
        told = [Path(f"/proc/{each.pid}/status").read_text() for each in self._processes()]
        return sum(int(text.partition("VmHWM:")[2].split()[0]) for text in told) / 1024

    def metric(self, name: str) -> float:
        """The sum of a metric's lines, by how they begin."""
        lines = self.ask("GET", "/metrics")[1].decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def client(self) -> "Client":
        """One more client of it."""
        assert self.url is not None
        return Client(self.url)

    def _processes(self) -> list[psutil.Process]:
        main = psutil.Process(self.pid)
        return [main, *main.children(recursive=True)]


class Told(NamedTuple):
    """An answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def plain(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(self.body)
        return record


class Client:
    """Asks one thing after the other on one connection, which is made anew where an answer closed it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Told:
        """One request; a header's "_" stands for "-".

        Raises:
            OSError, HTTPException: no answer, or one that is no HTTP.
        """
        self._connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
        response = self._connection.getresponse()
        return Told(response.status, response.headers, response.read())

    def count(self, photo: bytes, kind: str = "image/jpeg", **headers: str) -> Told:
        """`POST /v1/counts` of a photo as it is."""
        return self.ask("POST", "/v1/counts", photo, Content_Type=kind, **headers)


def growth_kb(held: Sequence[Held]) -> float:
    """By how much memory grew from one look to the next, by regression over the second half: then caches are full."""
    late_kb = [1024 * each.resident_mb for each in held[len(held) // 2 :]]
    return float(np.polynomial.Polynomial.fit(range(len(late_kb)), late_kb, 1).convert().coef[1])


def check_threads_and_files(held: Sequence[Held]) -> None:
    """The second half has no more of them than the first, but for those that a moment has.

    Raises:
        AssertionError: it has.
    """
    half = len(held) // 2
    for name in ("threads", "files"):
        first, second = (max(getattr(each, name) for each in part) for part in (held[:half], held[half:]))
        assert second <= first + 2, (name, first, second)


def check_error(told: Told) -> None:
    """A refusal that is clear: the client's fault, in our one shape, with a next step.

    Raises:
        AssertionError: it is not.
    """
    assert 400 <= told.status < 500, told
    error = told.plain()["error"]
    assert set(error) == {"code", "message", "hint"}, error
    assert all(error.values()), error
