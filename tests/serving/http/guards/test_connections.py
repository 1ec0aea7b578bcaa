"""What bad and hostile clients do on the wire, against a real uvicorn."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from bintally.counting.counter import Counter
from bintally.serving.http.app import create_app
from bintally.serving.http.guards.connections import MOST_PIPELINED, GuardedHttp
from bintally.serving.http_server import KEEP_ALIVE_S, HttpServer, uvicorn_config
from bintally.serving.settings import ServeConfig
from tests.bundles import bin_photo
from tests.serving.services import service_of

PHOTO = bin_photo(2, image_format="JPEG")
PING = b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n"


class Impatient(GuardedHttp):
    head_s = 0.5
    unread_s = 0.5


@contextmanager
def served(app: ASGIApp, *, keep_alive_s: int = KEEP_ALIVE_S) -> Iterator[tuple[str, int]]:
    """Where `app` is served as the service does it, only less patiently."""
    config = uvicorn_config(app, ServeConfig())
    config.http, config.timeout_keep_alive = Impatient, keep_alive_s
    server = HttpServer(config, shutdown_s=5.0, on_ready=lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            server.should_exit = True
            thread.join(20)


@pytest.fixture(scope="module")
def address(counter: Counter, samples: Path) -> Iterator[tuple[str, int]]:
    """Where the whole app is served."""
    config = ServeConfig.of({"samples": samples, "threads": 1})
    with served(create_app(service_of(counter, samples=samples), config)) as address:
        yield address


def sent(address: tuple[str, int], *pieces: bytes) -> bytes:
    """All that is answered to `pieces` until the server ends the connection."""
    with socket.create_connection(address, timeout=20) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
        except OSError:
            pass  # it ended the connection while we were sending
        answer = b""
        try:
            while more := connection.recv(2**16):
                answer += more
        except ConnectionResetError:
            pass
        return answer


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def test_an_ordinary_request_is_answered_in_pieces_too(address: tuple[str, int]) -> None:
    request = PING + b"Connection: close\r\n\r\n"
    assert status_of(sent(address, request)) == 200
    assert status_of(sent(address, *(request[place : place + 1] for place in range(len(request))))) == 200


@pytest.mark.parametrize(
    "pieces",
    [
        (PING, *(b"X: %s\r\n" % (b"y" * 990) for _ in range(600))),
        (PING + b"X: ", *(b"y" * 4096 for _ in range(200))),
        (b"GET /", *(b"y" * 4096 for _ in range(200))),
        (PING + b"X-", *(b"y" * 4096 for _ in range(200))),
    ],
    ids=["many headers", "one header", "the address", "a header's name"],
)
def test_headers_without_an_end_are_cut_off(address: tuple[str, int], pieces: tuple[bytes, ...]) -> None:
    answer = sent(address, *pieces)
    assert status_of(answer) in (0, 400, 431), answer[:200]


def test_headers_that_are_too_large_are_told_so(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(PING + b"X: " + b"y" * 40_000 + b"\r\n\r\n")
        assert status_of(connection.recv(2**16)) == 431


def test_what_follows_a_chunked_body_fills_no_memory_and_changes_nothing(address: tuple[str, int]) -> None:
    head = b"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\n"
    head += b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    body = b"%x\r\n%s\r\n0\r\n" % (len(PHOTO), PHOTO)
    assert status_of(sent(address, head + body, b"Content-Type: text/plain\r\nX: y\r\n\r\n")) == 200
    assert status_of(sent(address, head + body, b"X: ", *(b"y" * 4096 for _ in range(200)))) == 0


def test_headers_that_follow_a_body_are_not_taken_for_the_requests() -> None:
    """uvicorn on httptools puts them into the list that the app was given, past whoever has looked at it."""

    async def names(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        told = b" ".join(name for name, _ in scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": told})

    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    with served(names) as address:
        answer = sent(address, head + b"1\r\nx\r\n0\r\n", b"Authorization: Bearer other\r\n\r\n")
    assert status_of(answer) == 200
    assert b"authorization" not in answer


def test_who_says_nothing_or_little_is_let_go(address: tuple[str, int]) -> None:
    assert sent(address) == b""
    answer = sent(address, PING)
    assert status_of(answer) == 408
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_slow"
    assert b"\r\nX-Request-Id: " in answer


def test_the_second_request_of_a_connection_is_not_waited_for_either(address: tuple[str, int]) -> None:
    answers = sent(address, PING + b"\r\n", PING)
    assert answers.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in answers


def test_the_rest_of_a_body_that_was_refused_is_not_waited_for(address: tuple[str, int]) -> None:
    """A connection on which it dripped once stayed open for ever: each drop put off keep-alive's end."""
    head = b"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(head)
        assert status_of(connection.recv(2**16)) == 415
        with pytest.raises(OSError, match=r"reset|Broken"):
            for _ in range(100):
                connection.sendall(b"x")
                threading.Event().wait(0.05)


def test_the_rest_of_a_body_that_was_refused_may_come_at_a_body_s_pace(address: tuple[str, int]) -> None:
    """Whoever sends all before it reads would else find a broken connection in place of the refusal."""
    head = b"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: 50000\r\n\r\n"
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(head)
        for _ in range(50):  # 50 kB/s, for twice the headers' patience
            connection.sendall(bytes(1000))
            threading.Event().wait(0.02)
        assert status_of(connection.recv(2**16)) == 415
        connection.sendall(PING + b"\r\n")
        assert status_of(connection.recv(2**16)) == 200


def test_a_slow_body_is_not_cut_off_with_the_headers_patience(address: tuple[str, int]) -> None:
    head = b"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nConnection: close\r\n"
    head += b"Content-Length: %d\r\n\r\n" % len(PHOTO)
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(head + PHOTO[:10])
        threading.Event().wait(1.0)
        connection.sendall(PHOTO[10:])
        assert status_of(connection.recv(2**16)) == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /ping\r\n\r\n",
        b"GET /ping HTTP/9.9\r\n\r\n",
        b"G@T /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        PING + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        PING + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        PING + b"Content-Length: +5\r\n\r\n",
        PING + b"Content-Length: -1\r\n\r\n",
        PING + b"Transfer-Encoding: xchunked\r\n\r\n",
        PING + b"Transfer-Encoding: chunked, identity\r\n\r\n",
        PING + b"Transfer-Encoding : chunked\r\n\r\n",
        PING + b" folded: yes\r\n\r\n",
        PING + b"X\x00: y\r\n\r\n",
        PING + b"X: y\x00\r\n\r\n",
        PING + b"Host: evil.example\r\n\r\n",
        PING + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        PING + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
    ],
)
def test_what_two_servers_could_read_differently_is_answered_400(address: tuple[str, int], request_: bytes) -> None:
    """Request smuggling starts where a proxy and the service disagree about where a request ends."""
    answer = sent(address, request_)
    assert status_of(answer) in (0, 400, 408, 421), answer[:200]
    assert answer.count(b"HTTP/1.1 2") == 0, "nothing that came with it is answered"


def test_a_bare_line_feed_does_not_hide_a_request(address: tuple[str, int]) -> None:
    answers = sent(address, PING + b"X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + PING + b"\r\n")
    assert answers.count(b"HTTP/1.1 200") <= 1


def test_requests_sent_in_one_go_are_answered_in_their_order(address: tuple[str, int]) -> None:
    first = PING + b"X-Request-Id: first\r\n\r\n"
    last = PING + b"X-Request-Id: last\r\nConnection: close\r\n\r\n"
    answers = sent(address, first * 50 + last)
    assert answers.count(b"HTTP/1.1 200") == 51
    assert answers.rindex(b"x-request-id: first") < answers.index(b"x-request-id: last")


def test_many_connections_that_say_nothing_leave_room_for_others(address: tuple[str, int]) -> None:
    silent = [socket.create_connection(address, timeout=20) for _ in range(100)]
    try:
        assert status_of(sent(address, PING + b"Connection: close\r\n\r\n")) == 200
        assert [connection.recv(1) for connection in silent] == [b""] * 100, "they are let go"
    finally:
        for connection in silent:
            connection.close()


def test_far_too_many_requests_in_one_go_end_the_connection(address: tuple[str, int]) -> None:
    """Fifty connections that read nothing once took 2 GB in 20 seconds: each answer made room to take in more."""
    answers = sent(address, (PING + b"\r\n") * 50 * MOST_PIPELINED)
    assert answers.count(b"HTTP/1.1 200") <= 2 * MOST_PIPELINED
    assert status_of(sent(address, PING + b"Connection: close\r\n\r\n")) == 200


@pytest.mark.parametrize("after", [b"\r\n", b""], ids=["ends of lines", "nothing"])
def test_between_requests_a_connection_is_not_kept_for_ever(after: bytes) -> None:
    """An end of line put off keep-alive's end once, and began nothing that has an end of its own."""
    with served(_ok, keep_alive_s=1) as address, socket.create_connection(address, timeout=20) as connection:
        connection.sendall(PING + b"\r\n")
        assert status_of(connection.recv(2**16)) == 200
        connection.sendall(after)
        assert connection.recv(1) == b""


def test_a_connection_whose_refused_body_came_late_is_not_kept_for_ever() -> None:
    with served(_ok, keep_alive_s=1) as address, socket.create_connection(address, timeout=20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
        assert status_of(connection.recv(2**16)) == 200
        connection.sendall(b"late")
        assert connection.recv(1) == b""


def test_who_takes_no_answers_is_let_go_and_who_takes_them_slowly_is_not() -> None:
    body = bytes(8 * 2**20)

    async def large(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    def taken(address: tuple[str, int], *, first_s: float, then_s: float) -> int:
        with socket.create_connection(address, timeout=20) as connection:
            connection.sendall(PING + b"Connection: close\r\n\r\n")
            threading.Event().wait(first_s)
            got = 0
            with suppress(ConnectionResetError):
                while more := len(connection.recv(2**18)):
                    got += more
                    threading.Event().wait(then_s)
            return got

    with served(large) as address:
        assert taken(address, first_s=0.0, then_s=0.08) > len(body)
        assert taken(address, first_s=1.5, then_s=0.0) < len(body)


async def _ok(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
