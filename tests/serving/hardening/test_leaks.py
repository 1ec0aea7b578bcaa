"""An hour's requests, as quick as they go: memory, threads and files stay what they were.

All doors in turn, with photos, errors, and clients that hang up in the middle. Memory is judged by regression over the
second half, when caches and the allocator's pools are full.
"""

import base64
import json
import random
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.bundles import bin_photo
from tests.serving.hardening.watched import TIMEOUT_S, Client, Held, Watched, check_threads_and_files, growth_kb

HOUR = 36_000
"""Requests: ten a second for an hour."""

CLIENTS = 2
LOOKS = 60
"""At what is held, from the first request to the last."""

PHOTOS = {
    f"image/{name.lower()}": [bin_photo(count, image_format=name, seed=count) for count in range(6)]
    for name in ("JPEG", "PNG", "WEBP")
}
JSON = {"Content_Type": "application/json"}

Asking = Callable[[Client, random.Random], int]
"""Asks something and tells the status."""


@pytest.fixture
def served(bundle: Path, samples: Path, tmp_path: Path) -> Iterator[Watched]:
    """A service that keeps some of what it is asked, in bounds that an hour reaches."""
    with Watched(
        bundle, state=tmp_path / "state", samples=samples, threads=1, capture=10, capture_mb=1, idempotency_hours=0.001
    ) as made:
        made.start()
        yield made


def a_photo(client: Client, rng: random.Random) -> int:
    kind = rng.choice(list(PHOTOS))
    return client.count(rng.choice(PHOTOS[kind]), kind).status


def a_photo_with_a_key(client: Client, rng: random.Random) -> int:
    return client.count(PHOTOS["image/jpeg"][0], Idempotency_Key=f'"{rng.randrange(10**6)}"').status


def several_in_json(client: Client, rng: random.Random) -> int:
    photos = [{"image": base64.b64encode(photo).decode()} for photo in PHOTOS["image/jpeg"][: rng.randint(1, 6)]]
    return client.ask("POST", "/v1/counts", json.dumps({"photos": photos}).encode(), **JSON).status


def several_in_a_form(client: Client, rng: random.Random) -> int:
    head = b'--b\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n'
    body = b"".join(head + photo + b"\r\n" for photo in PHOTOS["image/jpeg"][: rng.randint(1, 6)]) + b"--b--\r\n"
    return client.ask("POST", "/v1/counts", body, Content_Type="multipart/form-data; boundary=b").status


def an_invocation(client: Client, rng: random.Random) -> int:
    return client.ask("POST", "/invocations", rng.choice(PHOTOS["image/jpeg"]), Content_Type="image/jpeg").status


def an_inference(client: Client, rng: random.Random) -> int:
    photo = base64.b64encode(rng.choice(PHOTOS["image/jpeg"])).decode()
    inputs = [{"name": "photos", "shape": [1], "datatype": "BYTES", "data": [photo]}]
    return client.ask("POST", "/v2/models/default/infer", json.dumps({"inputs": inputs}).encode(), **JSON).status


def an_overlay(client: Client, rng: random.Random) -> int:
    return client.ask("POST", "/v1/overlay", rng.choice(PHOTOS["image/png"]), Content_Type="image/png").status


def a_page(client: Client, rng: random.Random) -> int:
    return client.ask("GET", rng.choice(("/health", "/metrics", "/openapi.json", "/", "/model", "/samples"))).status


def an_error(client: Client, rng: random.Random) -> int:
    wrong: tuple[Callable[[], int], ...] = (
        lambda: client.count(rng.randbytes(1000)).status,
        lambda: client.count(PHOTOS["image/jpeg"][0][:-300]).status,
        lambda: client.count(b"x", "text/plain").status,
        lambda: client.ask("POST", "/v1/counts", b'{"image": 1}', **JSON).status,
        lambda: client.ask("GET", f"/nothing/{rng.randrange(10**9)}").status,
        lambda: client.count(PHOTOS["image/jpeg"][0], Request_Timeout="0.0001").status,
    )
    return rng.choice(wrong)()


def a_client_that_hangs_up(client: Client, rng: random.Random) -> int:
    """Before its photo is sent, or before it is counted."""
    photo = rng.choice(PHOTOS["image/jpeg"])
    head = (
        f"POST /v1/counts HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nContent-Length: {len(photo)}\r\n"
    )
    place = urlsplit(client.url)
    with socket.create_connection((place.hostname, place.port), timeout=TIMEOUT_S) as connection:
        connection.sendall(f"{head}Content-Length: {len(photo)}\r\n\r\n".encode())
        connection.sendall(photo[: rng.choice((0, len(photo) // 2, len(photo)))])
    return 200


# Most have a key: SQLite's cache of the pages of kept answers is full after 7,000 of them.
MIX: dict[Asking, int] = {
    a_photo: 12, a_photo_with_a_key: 40, several_in_json: 6, several_in_a_form: 6, an_invocation: 8, an_inference: 6,
    an_overlay: 1, a_page: 6, an_error: 10, a_client_that_hangs_up: 5,
}  # fmt: skip


def ask_many(served: Watched, number: int, *, seed: int) -> None:
    """So many requests of the mix, one after the other."""
    rng = random.Random(seed)
    with served.client() as client:
        for asking in rng.choices(list(MIX), list(MIX.values()), k=number):
            status = asking(client, rng)
            expected = {400, 404, 408, 415, 422, 504} if asking is an_error else {200}
            assert status in expected, (asking.__name__, status)


def held_over(served: Watched, requests: int) -> list[Held]:
    """What is held from look to look, while so many requests are made by `CLIENTS` at once."""
    each = requests // LOOKS // CLIENTS
    held = []
    with ThreadPoolExecutor(CLIENTS) as pool:
        for look in range(LOOKS):
            seeds = range(look * CLIENTS, (look + 1) * CLIENTS)
            list(pool.map(lambda seed: ask_many(served, each, seed=seed), seeds))
            held.append(settled(served))
    return held


def settled(served: Watched) -> Held:
    """What is held once nothing is under way: who hung up is forgotten as soon as the loop comes by."""
    held = served.held()
    for _ in range(100):
        time.sleep(0.01)
        before, held = held, served.held()
        if held.files == before.files:
            break
    return held


def test_an_hour_s_mix_of_requests_leaves_nothing_behind(served: Watched) -> None:
    """A seeded sample. A photo that stayed, or its answer, would be 2 to 10 kB a request."""
    held = held_over(served, 1500)
    check_threads_and_files(held)
    assert growth_kb(held) * LOOKS < 2 * 750


@pytest.mark.soak
def test_an_hour_of_requests_leaves_nothing_behind(served: Watched) -> None:
    held = held_over(served, HOUR)
    check_threads_and_files(held)
    a_thousand_kb = growth_kb(held) * LOOKS / (HOUR / 1000)
    assert a_thousand_kb < 100, "100 bytes a request: its name alone, in a dict, would be 180"
