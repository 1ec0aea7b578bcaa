"""Far more than can be counted: some are, the others are told when to come again, and nothing piles up."""

import base64
import json
import socket
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from PIL import Image

from tests.bundles import bin_photo
from tests.serving.hardening.strange import saved, webp_of_one_colour
from tests.serving.hardening.watched import MB, TIMEOUT_S, Client, Told, Watched

PHOTO = bin_photo(2, image_format="JPEG")
SLOW_PHOTO = webp_of_one_colour(2000, 2000)
"""34 bytes that take some 0.2 s."""

JSON = "application/json"
CLIENTS = 48
ROOM_MB = 64
REST_MB = 100
"""Beside the bodies under way: one that is put together, what waits in sockets, what the allocator keeps; it was 40."""

JSON_TIMES = 3.5
"""A body of JSON is held as it came, as text while it is read, and as the photo in it; it was 3.1 with the rest."""


@contextmanager
def serving(bundle: Path, samples: Path, state: Path, **settings: Any) -> Iterator[Watched]:
    with Watched(bundle, state=state, samples=samples, threads=1, **settings) as made:
        made.start()
        yield made


def flood(served: Watched, ask: Callable[[Client], Told], *, clients: int = CLIENTS, each: int = 1) -> list[Told]:
    """What many clients are told, who all begin at once."""
    start = threading.Barrier(clients)

    def asking(_: int) -> list[Told]:
        with served.client() as client:
            start.wait(TIMEOUT_S)
            return [ask(client) for _ in range(each)]

    with ThreadPoolExecutor(clients) as pool:
        return [told for all_told in pool.map(asking, range(clients)) for told in all_told]


def check_told_to_come_again(told: Told) -> None:
    """A refusal that says when.

    Raises:
        AssertionError: it does not.
    """
    assert told.status in (429, 503), told
    assert told.headers["Retry-After"].isdecimal(), told.headers.items()
    assert int(told.headers["Retry-After"]) >= 1
    assert told.plain()["error"]["code"] in ("overloaded", "too_many_requests")


def check_well(served: Watched) -> None:
    """It is idle, and counts at once.

    Raises:
        AssertionError: it is not.
    """
    health = served.health()
    assert (health["status"], health["under_way"], health["waiting"], health["working"]) == ("ok", 0, 0, 0), health
    with served.client() as client:
        assert client.count(PHOTO).status == 200


def test_a_flood_is_answered_in_part_and_the_rest_is_told_when_to_come_again(
    bundle: Path, samples: Path, tmp_path: Path
) -> None:
    photo = saved(Image.effect_noise((1500, 1500), 60), "PNG")
    with serving(bundle, samples, tmp_path, max_waiting=4) as served:
        told = flood(served, lambda client: client.count(photo), each=3)
        statuses = Tally(each.status for each in told)
        assert set(statuses) == {200, 503}
        for each in told:
            if each.status != 200:
                check_told_to_come_again(each)
        check_well(served)
        assert served.metric('bintally_requests_total{door="http",outcome="overloaded"}') == statuses[503]


def test_who_asks_too_often_is_told_when_to_come_again(bundle: Path, samples: Path, tmp_path: Path) -> None:
    with serving(bundle, samples, tmp_path, rate=1, burst=10) as served:
        told = flood(served, lambda client: client.count(PHOTO), clients=20, each=3)
        statuses = Tally(each.status for each in told)
        assert set(statuses) == {200, 429}
        assert 10 <= statuses[200] < 30
        for each in told:
            if each.status != 200:
                check_told_to_come_again(each)


def in_base64(photo: bytes) -> bytes:
    return json.dumps({"image": base64.b64encode(photo).decode()}).encode()


@pytest.mark.parametrize(
    ("body", "kind", "times"),
    [(PHOTO.ljust(20 * MB, b"\0"), "image/jpeg", 1.0), (in_base64(PHOTO.ljust(15 * MB, b"\0")), JSON, JSON_TIMES)],
    ids=["as they are", "in JSON"],
)
def test_a_flood_of_large_bodies_takes_no_more_memory_than_there_is_room_for(
    bundle: Path, samples: Path, tmp_path: Path, body: bytes, kind: str, times: float
) -> None:
    """Five times as much is sent at once as there is room for."""
    with serving(bundle, samples, tmp_path, max_waiting_mb=ROOM_MB) as served:
        check_well(served)
        before_mb = served.held().resident_mb
        served.forget_peak()
        told = flood(
            served, lambda client: client.ask("POST", "/v1/counts", body, Content_Type=kind), clients=5 * ROOM_MB // 20
        )
        assert {each.status for each in told} == {200, 503}
        for each in told:
            if each.status != 200:
                check_told_to_come_again(each)
        assert served.peak_mb() - before_mb < times * ROOM_MB + REST_MB
        check_well(served)


def test_what_is_too_late_is_told_so_and_not_worked_on(bundle: Path, samples: Path, tmp_path: Path) -> None:
    """Sixty photos, wanted in the time of six: most are not even decoded, by how long the process worked."""
    with serving(bundle, samples, tmp_path) as served:
        check_well(served)
        worked_s = cpu_s(served)
        with served.client() as client:
            assert client.count(SLOW_PHOTO).status == 200
        each_s = cpu_s(served) - worked_s
        told = flood(served, lambda client: client.count(SLOW_PHOTO, Request_Timeout=f"{6 * each_s:.2f}"), clients=60)
        statuses = Tally(each.status for each in told)
        assert set(statuses) <= {200, 504}
        assert statuses[504] > 30
        assert {each.plain()["error"]["code"] for each in told if each.status == 504} == {"deadline_exceeded"}
        until_idle(served)
        assert cpu_s(served) - worked_s < 30 * each_s
        check_well(served)


def until_idle(served: Watched) -> None:
    """Returns when the last photo is done: one that is being decoded when it becomes too late is decoded to its end."""
    for _ in range(500):
        if served.health()["working"] == 0:
            return
        time.sleep(0.01)


def cpu_s(served: Watched) -> float:
    """Seconds that the service has worked so far."""
    times = psutil.Process(served.pid).cpu_times()
    return float(times.user + times.system)


HEAD = b"POST /v1/counts HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\nContent-Type: "
SLOW = {
    "headers": b"POST /v1/counts HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
    "a body": HEAD + b"image/jpeg\r\n\r\n\xff\xd8\xff",
    "the rest of a body that was refused": HEAD + b"text/plain\r\n\r\n",
    "nothing at all": b"",
}


@contextmanager
def dripping(url: str, connections: int) -> Iterator[list[socket.socket]]:
    """So many connections that each say the beginning of something and then one byte a second, until the block ends."""
    place = urlsplit(url)
    is_over = threading.Event()
    with ExitStack() as stack:
        slow = []
        for each in range(connections):
            slow.append(stack.enter_context(socket.create_connection((place.hostname, place.port), timeout=TIMEOUT_S)))
            slow[-1].sendall(list(SLOW.values())[each % len(SLOW)])
        dripper = threading.Thread(target=_drip, args=(slow, is_over))
        dripper.start()
        try:
            yield slow
        finally:
            is_over.set()
            dripper.join(TIMEOUT_S)


def _drip(slow: list[socket.socket], is_over: threading.Event) -> None:
    while not is_over.wait(1.0):
        for place, connection in enumerate(slow):
            if place % len(SLOW) == len(SLOW) - 1:  # says nothing at all
                continue
            try:
                connection.send(b"x")
            except OSError:  # let go
                continue


def test_slow_senders_stop_nobody_else(bundle: Path, samples: Path, tmp_path: Path) -> None:
    with serving(bundle, samples, tmp_path) as served, dripping(str(served.url), 200):
        for _ in range(20):
            with served.client() as client:
                assert client.count(PHOTO).status == 200
            time.sleep(0.1)
        check_well(served)


@pytest.mark.soak
def test_slow_senders_are_let_go(bundle: Path, samples: Path, tmp_path: Path) -> None:
    with serving(bundle, samples, tmp_path) as served:
        check_well(served)
        before = served.held()
        files = [before.files]
        with dripping(str(served.url), 200):
            for _ in range(60):
                with served.client() as client:
                    assert client.count(PHOTO).status == 200
                files.append(served.held().files)
                if max(files) > before.files + 150 and files[-1] <= before.files + 2:
                    break
                time.sleep(1.0)
        assert max(files) > before.files + 150
        assert files[-1] <= before.files + 2
        check_well(served)
