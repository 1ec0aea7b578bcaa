"""The champion changes again and again while clients ask: none of them notices, but for the version they are told."""

import http.client
import json
import os
import random
import signal
import threading
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.bundles import bin_photo
from tests.serving.following.registries import Shelf, until
from tests.serving.killing import Served

CLIENTS = 4
PHOTOS = {count: bin_photo(count, image_format="JPEG") for count in range(6)}


class Client(threading.Thread):
    """Asks without end on one connection; whatever is not a right answer is a failure."""

    def __init__(self, url: str, seed: int) -> None:
        super().__init__(daemon=True)
        self._place, self._chance = urlsplit(url).netloc, random.Random(seed)
        self.is_over = threading.Event()
        self.answered = 0
        self.versions: set[str] = set()
        self.failure: str | None = None

    def run(self) -> None:
        connection = http.client.HTTPConnection(self._place, timeout=30)
        try:
            while not self.is_over.is_set():
                if self._chance.random() < 0.1:
                    connection.close()  # the next request may meet another worker
                self._ask(connection)
        except (OSError, http.client.HTTPException) as error:
            self.failure = repr(error)
        finally:
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        count = self._chance.randrange(6)
        connection.request("POST", "/invocations", PHOTOS[count], {"Content-Type": "image/jpeg"})
        response = connection.getresponse()
        body = response.read()
        told = json.loads(body)
        if response.status != 200 or told["count"] != count:
            self.failure = body.decode()
            self.is_over.set()
            return
        self.versions.add(told["model_version"])
        self.answered += 1


def serves(served: Served, version: str, workers: int) -> bool:
    """Whether every worker answers with that version; each new connection may meet another one."""
    told = [served.health() for _ in range(4 * workers)]
    return {each["model_version"] for each in told} == {version} and len({each["worker"] for each in told}) == workers


def have_asked(clients: list[Client], times: int) -> bool:
    return sum(client.answered for client in clients) > times or any(client.failure for client in clients)


def swaps(shelf: Shelf, state: Path, *, workers: int, times: int, **settings: Any) -> None:
    """Goes back and forth between two versions under load."""
    first, second = shelf.champion(), shelf.champion()
    told = {"registry": shelf.place, "state": state, "threads": 1, "follow_s": 0.1, "max_slower": 1000, **settings}
    with Served(None, workers=workers, **told) as served:
        served.start()
        clients = [Client(str(served.url), seed) for seed in range(CLIENTS)]
        for client in clients:
            client.start()
        for swap in range(times):
            before = sum(client.answered for client in clients)
            version = (first, second)[swap % 2]
            shelf.roll_back(to=version)
            assert until(partial(serves, served, version, workers)), version
            assert until(partial(have_asked, clients, before + CLIENTS))
            assert [client.failure for client in clients if client.failure] == []
        for client in clients:
            client.is_over.set()
        for client in clients:
            client.join(30)
        served.stop()
    assert [client.failure for client in clients if client.failure] == []
    assert set().union(*(client.versions for client in clients)) == {first, second}
    taken = [version for version, outcome in shelf.done() if outcome == "taken"]
    assert len(taken) == workers * (times + 1)


def test_changes_of_the_champion_fail_no_request(shelf: Shelf, state: Path) -> None:
    swaps(shelf, state, workers=1, times=8)


def test_nor_do_they_with_two_workers_that_load_each_version_again(shelf: Shelf, state: Path) -> None:
    swaps(shelf, state, workers=2, times=2, keep_mb=0)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("keep_mb", [0, 512])
def test_a_hundred_changes(shelf: Shelf, state: Path, workers: int, keep_mb: int) -> None:
    swaps(shelf, state, workers=workers, times=100, keep_mb=keep_mb)


def test_a_worker_that_is_killed_comes_back_with_the_version_of_today(shelf: Shelf, state: Path) -> None:
    killed(shelf, state, times=1, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_fifty_kills_while_the_champion_changes(shelf: Shelf, state: Path) -> None:
    killed(shelf, state, times=50, seed=2)


def killed(shelf: Shelf, state: Path, *, times: int, seed: int) -> None:
    """kill -9 of a worker, or of all of it, at the moment of a change."""
    chance = random.Random(seed)
    first, second = shelf.champion(), shelf.champion()
    told: dict[str, Any] = {"registry": shelf.place, "state": state, "threads": 1, "follow_s": 0.1, "max_slower": 1000}
    with Served(None, workers=2, **told) as served:
        served.start()
        for change in range(times):
            version = (first, second)[change % 2]
            shelf.roll_back(to=version)
            threading.Event().wait(chance.uniform(0.0, 0.3))
            if chance.random() < 0.3:
                served.kill()
                served.start()
            else:
                os.kill(chance.choice(served.workers()), signal.SIGKILL)
            assert until(partial(serves, served, version, 2)), version
        served.stop()
    assert shelf.reasons("refused") == []
