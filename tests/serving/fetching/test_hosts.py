import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bintally.errors import RequestError, UsageError
from bintally.serving.fetching.hosts import MAX_REDIRECTS, AllowedHosts

PHOTO = b"\xff\xd8\xff" + bytes(1000)


class Camera(BaseHTTPRequestHandler):
    """Serves a photo, and everything a bad or hostile server does."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        here = f"localhost:{self.headers['Host'].partition(':')[2]}"
        redirects = {
            "/moved": "/photo.jpg?at=1",
            "/elsewhere": f"http://{here}/photo.jpg?at=1",
            "/file": "file:///etc/passwd",
            "/round": "/round",
        }
        match self.path:
            case "/photo.jpg?at=1":
                self._send(200, PHOTO)
            case "/large":
                self._send(200, bytes(5000))
            case "/unending":
                self._drip(bytes(400), pause_s=0)
            case "/dripping":
                self._drip(b"x", pause_s=0.05)
            case "/dripping-headers":
                self._drip(b"X: y\r\n", pause_s=0.05, headers=True)
            case path if path in redirects:
                self._send(302, location=redirects[path])
            case _:
                self._send(404, b"no")

    def _send(self, status: int, body: bytes = b"", *, location: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)

    def _drip(self, piece: bytes, *, pause_s: float, headers: bool = False) -> None:
        """A body (or headers) without a length, that ends after 5 s at the latest."""
        self.close_connection = True
        with suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"\r\n" * (not headers))
            for _ in range(100):
                self.wfile.write(piece)
                time.sleep(pause_s)

    def log_message(self, *_: object) -> None: ...


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None: ...  # connections are cut on purpose here


@pytest.fixture(scope="module")
def camera() -> Iterator[str]:
    server = Server(("127.0.0.1", 0), Camera)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(url: str, *, hosts: tuple[str, ...] = ("127.0.0.1",), limit_s: float = 5) -> bytes:
    return AllowedHosts(hosts).fetch(url, max_bytes=2000, limit_s=limit_s)


def test_a_photo_of_an_allowed_host_is_fetched(camera: str) -> None:
    assert fetch(f"{camera}/photo.jpg?at=1") == PHOTO
    assert fetch(f"{camera}/photo.jpg?at=1", hosts=(camera.removeprefix("http://"),)) == PHOTO


def test_a_redirect_on_the_same_host_is_followed(camera: str) -> None:
    assert fetch(f"{camera}/moved") == PHOTO


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:1/photo.jpg",
        "http://127.0.0.1@localhost:1/photo.jpg",
        "http://127.0.0.1.example/photo.jpg",
        "http://127.1/photo.jpg",
        "http://[::1]/photo.jpg",
        "ftp://127.0.0.1/photo.jpg",
        "file:///etc/passwd",
        "//127.0.0.1/photo.jpg",
        "photo.jpg",
        "",
    ],
)
def test_only_the_exact_host_over_http_is_asked(url: str) -> None:
    with pytest.raises(RequestError) as refusal:
        fetch(url)
    assert (refusal.value.status, refusal.value.code) == (403, "url_not_allowed")


def test_a_host_with_a_port_allows_that_port_only(camera: str) -> None:
    with pytest.raises(RequestError) as refusal:
        fetch(f"{camera}/photo.jpg?at=1", hosts=("127.0.0.1:80",))
    assert refusal.value.status == 403


def test_nothing_is_allowed_unless_it_is_named(camera: str) -> None:
    with pytest.raises(RequestError) as refusal:
        fetch(f"{camera}/photo.jpg?at=1", hosts=())
    assert refusal.value.status == 403


def test_a_redirect_to_another_host_is_not_followed_even_if_that_is_allowed_too(camera: str) -> None:
    with pytest.raises(RequestError, match="another host") as refusal:
        fetch(f"{camera}/elsewhere", hosts=("127.0.0.1", "localhost"))
    assert refusal.value.status == 400


def test_a_redirect_to_a_file_is_refused(camera: str) -> None:
    with pytest.raises(RequestError) as refusal:
        fetch(f"{camera}/file")
    assert refusal.value.status == 403


def test_redirects_end(camera: str) -> None:
    with pytest.raises(RequestError, match=f"more than {MAX_REDIRECTS} times"):
        fetch(f"{camera}/round")


@pytest.mark.parametrize("path", ["/large", "/unending"])
def test_a_photo_that_is_too_large_is_given_up(camera: str, path: str) -> None:
    with pytest.raises(RequestError) as refusal:
        fetch(f"{camera}{path}")
    assert refusal.value.status == 413


@pytest.mark.parametrize("path", ["/dripping", "/dripping-headers"])
def test_a_server_that_drips_is_cut_off_in_time(camera: str, path: str) -> None:
    started = time.monotonic()
    with pytest.raises(RequestError, match="too long"):
        fetch(f"{camera}{path}", limit_s=0.4)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("url", "says"), [("{}/gone", "404"), ("http://127.0.0.1:1/", "refused"), ("{}/a b", "control")]
)
def test_a_photo_that_is_not_to_be_had_says_why(camera: str, url: str, says: str) -> None:
    with pytest.raises(RequestError, match=says) as refusal:
        fetch(url.format(camera))
    assert (refusal.value.status, refusal.value.code) == (400, "url_unreachable")


def test_a_url_with_an_absurd_port_is_a_wrong_request() -> None:
    with pytest.raises(RequestError) as refusal:
        fetch("http://127.0.0.1:99999/")
    assert refusal.value.status == 422


@pytest.mark.parametrize("host", ["https://camera.example", "camera.example/photos", "*", ""])
def test_what_is_no_host_can_not_be_allowed(host: str) -> None:
    with pytest.raises(UsageError, match="no host"):
        AllowedHosts([host])
