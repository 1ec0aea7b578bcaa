"""A whole session with secrets planted wherever some come in; none of them may come out anywhere."""

import base64
import http.client
import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bintally.serving.keys.file import KeyFile
from tests.bundles import bin_photo
from tests.serving.conftest import running

PLANTED = "pLantedSecret"
PHOTO = bin_photo(2, image_format="JPEG")


class Camera(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", f"http://user:{PLANTED}1@127.0.0.1/")
        else:
            self.send_response(200 if self.path.startswith("/photo") else 404)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(PHOTO)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def camera() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def ask(url: str, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> str:
    """Status, headers and body of an answer, as text."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return f"{response.status} {response.getheaders()} {response.read().decode(errors='replace')}"
    finally:
        connection.close()


def raw(url: str, data: bytes) -> str:
    place = urlsplit(url)
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=30) as connection:
        connection.sendall(data)
        return connection.recv(2**16).decode(errors="replace")


def session(url: str, key: str, camera: str) -> Iterator[str]:
    """All that is answered in a session in which everything goes wrong that can."""
    good = {"authorization": f"Bearer {key}"}
    wrong_key = f"btk_{'0' * 12}_{PLANTED}{'x' * 30}"
    urls = [
        f"http://{camera}/photo.jpg?X-Amz-Signature={PLANTED}2",
        f"http://{camera}/gone.jpg?sig={PLANTED}2",
        f"http://{camera}/moved?sig={PLANTED}2",
        f"http://user:{PLANTED}3@{camera}/photo.jpg",
        f"http://other.example/photo.jpg?sig={PLANTED}4",
        f"nonsense://user:{PLANTED}4@x/",
    ]
    for each in urls:
        body = json.dumps({"url": each}).encode()
        yield ask(url, "POST", "/invocations", {**good, "content-type": "application/json"}, body)
    for headers in (
        good,
        {"x-api-key": key},
        {"x-api-key": wrong_key},
        {"authorization": f"Bearer {wrong_key}"},
        {"authorization": f"Basic {base64.b64encode(PLANTED.encode()).decode()}"},
        {"authorization": f"{PLANTED}5"},
        {"x-api-key": key, "authorization": f"Bearer {wrong_key}"},
        {**good, "cookie": f"session={PLANTED}6", "x-request-id": f"{PLANTED} 6"},
    ):
        jpeg = {**headers, "content-type": "image/jpeg"}
        yield ask(url, "POST", "/invocations", jpeg, PHOTO)
        yield ask(url, "POST", f"/invocations?key={PLANTED}7", jpeg, b"no photo")
        yield ask(url, "GET", f"/nowhere?token={PLANTED}8", headers)
    yield raw(url, f"GET / HTTP/1.1\r\nAuthorization: Bearer {key}\r\nX-Api-Key : {PLANTED}9\r\n\r\n".encode())
    for path in ("/health", "/health/ready", "/metrics", "/openapi.json", "/model", "/ping"):
        yield ask(url, "GET", path, good)


def test_no_secret_comes_out_anywhere(
    bundle: Path, samples: Path, camera: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    _, key = KeyFile(state / "keys.json").create("robot-7", scopes=["count", "read"])
    settings = {
        "STATE": str(state),
        "REQUIRE_KEYS": "always",
        "ALLOW_URL": camera,
        "ALLOW_PRIVATE_URL": "1",
        "CAPTURE": "100",
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": "json",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"BINTALLY_SERVE_{name}", value)
    with running(bundle, "--samples", samples) as (url, process):
        answers = list(session(url, key, camera))
        process.send_signal(signal.SIGTERM)
        out, log = process.communicate(timeout=30)
    assert [answer for answer in answers if answer.startswith("200")], answers[:3]
    assert not [answer for answer in answers if answer.startswith("500")]
    kept = {path: path.read_bytes().decode(errors="replace") for path in state.rglob("*") if path.is_file()}
    secrets = (PLANTED, key.split("_", 2)[2], base64.b64encode(PLANTED.encode()).decode())
    answered = {f"answer {number}": answer for number, answer in enumerate(answers)}
    said = {**answered, "stdout": out, "log": log, **{str(path): text for path, text in kept.items()}}
    assert any(path.suffix == ".jsonl" for path in kept), "what is captured is looked at, too"
    assert '"path":"/invocations"' in log
    for place, text in said.items():
        for secret in secrets:
            assert secret not in text, f"{place}: ...{text[max(text.index(secret) - 300, 0) :][:600]}"
