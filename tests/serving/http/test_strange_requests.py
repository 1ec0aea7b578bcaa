"""What no well-meant client sends, at a real server: whatever comes, it is answered clearly, and the next one too."""

import http.client
import json
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.bundles import bin_photo
from tests.serving.conftest import running

PHOTO = bin_photo(4)
LIMIT = 2**20


@pytest.fixture(scope="module")
def address(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BINTALLY_SERVE_STATE", str(tmp_path_factory.mktemp("state")))
        patch.setenv("BINTALLY_SERVE_MAX_WAITING_MB", "2")
        patch.setenv("BINTALLY_SERVE_TIMEOUT_S", "3")
        with running(bundle, "--max-photo-mb", "1") as (url, _):
            parts = urlsplit(url)
            yield str(parts.hostname), int(parts.port or 0)


def connected(address: tuple[str, int]) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(*address, timeout=20)


def counted(address: tuple[str, int]) -> tuple[int, str, str | None]:
    """Status, count or error, and Retry-After of a photo that is sent as it should be."""
    connection = connected(address)
    try:
        connection.request("POST", "/v1/counts", PHOTO, {"Content-Type": "image/png"})
        response = connection.getresponse()
        return *said(response), response.headers["Retry-After"]
    finally:
        connection.close()


def said(response: http.client.HTTPResponse) -> tuple[int, str]:
    """Status, and the error's code or the count."""
    body = json.loads(response.read())
    return response.status, body["error"]["code"] if body.get("error") else str(body["count"])


def all_of(connection: socket.socket) -> bytes:
    """What is answered until the server closes the connection."""
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
    return answer


def test_a_photo_in_chunks_is_counted(address: tuple[str, int]) -> None:
    connection = connected(address)
    pieces = (PHOTO[start : start + 100] for start in range(0, len(PHOTO), 100))
    connection.request("POST", "/v1/counts", pieces, {"Content-Type": "image/png"}, encode_chunked=True)
    assert said(connection.getresponse()) == (200, "4")
    connection.close()


def test_who_asks_before_sending_is_told_to_go_on_only_if_it_would_be_taken(address: tuple[str, int]) -> None:
    head = (
        "POST /v1/counts HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\n"
        "Content-Type: {}\r\nContent-Length: {}\r\n\r\n"
    )
    for kind, length, status in (("image/png", 2 * LIMIT, 413), ("text/plain", 10, 415)):
        with socket.create_connection(address, timeout=20) as connection:
            connection.sendall(head.format(kind, length).encode())
            assert connection.recv(4096).startswith(f"HTTP/1.1 {status} ".encode())
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(head.format("image/png", len(PHOTO)).encode())
        assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(PHOTO)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Content-Length: 3\r\nContent-Length: 4\r\n", 400),
        (b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"Content-Length: -1\r\n", 400),
        (b"Content-Length: 0x10\r\n", 400),
        (b"Content-Type: image/png\r\n", 400),
        (b"Content-Type: image/png\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n", 415),
        (b"Content-Type: image/png\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\nContent-Length: 3\r\n", 400),
    ],
    ids=["lengths", "length and chunks", "negative", "hex", "no body", "gzip", "keys"],
)
def test_headers_that_contradict_are_refused(address: tuple[str, int], headers: bytes, status: int) -> None:
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(
            b"POST /v1/counts HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n" + headers + b"\r\nabc"
        )
        answer = all_of(connection)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer


def test_slow_bodies_are_given_up_and_their_room_is_free_again(address: tuple[str, int]) -> None:
    """Two of a megabyte fill the room; they are given up, the connection is closed, and others are counted again."""
    head = f"POST /v1/counts HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: {LIMIT}\r\n\r\n"
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(address, timeout=20)) for _ in range(2)]
        for each in slow:
            each.sendall(head.encode() + b"\x89PNG")
        for _ in range(1000):  # until both are being read
            status, code, retry_after = counted(address)
            if status == 503:
                break
        assert (status, code, retry_after) == (503, "overloaded", "1")
        for each in slow:
            answer = all_of(each)  # it is closed, so that the rest is not waited for
            assert answer.startswith(b"HTTP/1.1 408 "), answer
            assert b"slow_body" in answer
    assert counted(address)[:2] == (200, "4")


def test_senders_that_go_away_in_the_middle_leave_no_room_taken(address: tuple[str, int]) -> None:
    head = f"POST /v1/counts HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: {LIMIT}\r\n\r\n"
    for _ in range(20):
        with socket.create_connection(address, timeout=20) as connection:
            connection.sendall(head.encode() + bytes(1000))
    assert any(counted(address)[0] == 200 for _ in range(200))


def mutated(rng: random.Random, body: bytes) -> bytes:
    """`body` with a few bytes changed, cut out or doubled."""
    changed = bytearray(body)
    for _ in range(rng.randint(1, 8)):
        start = rng.randrange(len(changed) + 1)
        end = min(start + rng.randint(0, 20), len(changed))
        changed[start:end] = rng.choice([b"", rng.randbytes(end - start), changed[start:end] * 2, b'"', b"{", b"\0"])
    return bytes(changed)


def strange(address: tuple[str, int], seed: int, requests: int) -> None:
    rng = random.Random(seed)
    infer = {"inputs": [{"name": "photos", "shape": [1], "datatype": "BYTES", "data": ["iVBORw0KGgo="]}]}
    form = b'--b\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n' + PHOTO[:300] + b"\r\n--b--\r\n"
    bodies = [
        ("/v1/counts", "image/png", PHOTO),
        ("/v1/counts", "application/json", b'{"image":"iVBORw0KGgo=","counts":"1-5","recorded_count":3}'),
        ("/v1/counts", "application/json", b'{"photos":[{"image":"iVBORw0KGgo="},{"url":"http://camera/1.jpg"}]}'),
        ("/v1/counts", "multipart/form-data; boundary=b", form),
        ("/v1/overlay", "image/png", PHOTO),
        ("/invocations", "application/json", b'{"image":"iVBORw0KGgo=","captured_at":"2026-01-31T12:00:00Z"}'),
        ("/models", "application/json", b'{"model_name":"a","url":"b"}'),
        ("/v2/models/tiny/infer", "application/json", json.dumps(infer).encode()),
    ]
    connection = connected(address)
    for _ in range(requests):
        path, kind, body = rng.choice(bodies)
        connection.request("POST", path, mutated(rng, body), {"Content-Type": kind})
        response = connection.getresponse()
        told = response.read()
        assert response.status < 500, (path, told)
        if response.status >= 400:
            assert "error" in json.loads(told)
    connection.close()


def test_mutated_bodies_are_answered_or_refused_and_never_break_the_service(address: tuple[str, int]) -> None:
    strange(address, seed=0, requests=300)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 11))
def test_many_more_mutated_bodies(address: tuple[str, int], seed: int) -> None:
    strange(address, seed, requests=2000)
