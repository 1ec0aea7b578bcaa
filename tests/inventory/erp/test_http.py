"""What connectors share that speak HTTP: time and size of an answer have limits, and headers can be sent."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydantic import TypeAdapter, ValidationError

from bintally.errors import ConfigError, ErpUnavailableError
from bintally.inventory.erp import connections, http
from tests.inventory.erp.answering import answering


@contextmanager
def dripping(start: bytes) -> Iterator[str]:
    """The address of something that answers `start`, and then a letter now and again, for half a minute at most."""
    is_over = threading.Event()

    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(start)
            for _ in range(300):
                if is_over.wait(0.1):
                    return
                try:
                    connection.send(b"a")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=[server])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            is_over.set()
            thread.join()


@pytest.mark.parametrize(
    "start",
    [b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"],
    ids=["headers", "body", "body without end"],
)
def test_a_call_ends_in_time_however_steadily_it_is_answered(start: bytes) -> None:
    with dripping(start) as url:
        asked = http.Http("Erp", url, timeout_s=0.5, headers={})
        began = time.monotonic()
        with pytest.raises(ErpUnavailableError, match="did not answer"):
            asked.send("GET", "/")
        asked.close()
    assert time.monotonic() - began < 15, "it would drip for half a minute"


def test_an_answer_that_is_too_long_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MOST_BYTES", 10)
    with answering(200, "1234567890") as url:
        asked = http.Http("Erp", url, timeout_s=5, headers={})
        assert asked.send("GET", "/").text == "1234567890"
        monkeypatch.setattr(http, "MOST_BYTES", 9)
        with pytest.raises(ErpUnavailableError, match="more than 9 bytes"):
            asked.send("GET", "/")
        asked.close()


def test_a_key_that_no_header_can_hold_is_a_mistake_in_the_settings() -> None:
    for key in ("s\u00e9cret", "sec\nret"):
        with pytest.raises(ConfigError, match="ASCII"):
            http.Http("Erp", "http://127.0.0.1:9", timeout_s=5, headers={"Authorization": key})


def test_a_secret_of_the_environment_has_no_blanks_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINTALLY_ERP_BOOK_SECRET", "key\n")
    assert connections.secret_of("book") == "key"


@pytest.mark.parametrize("tail", ["#a", "?a=1", "#", "?"])
def test_an_address_has_nothing_behind_its_path(tail: str) -> None:
    with pytest.raises(ValidationError, match="no address of a server"):
        TypeAdapter(http.Address).validate_python(f"https://erp.example.com/{tail}")
