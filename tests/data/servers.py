"""Servers on localhost that behave as badly as the real ones, and the small folders they serve."""

import http.client
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bintally.metadata import metadata_json
from bintally.records import BinRecord, Product


def lay_out(folder: Path, ids: list[str], *, seed: int = 0, without_metadata: tuple[str, ...] = ()) -> Path:
    """A folder like the bucket. Photos are noise: fetch stores bytes, whatever they are."""
    random_ = random.Random(seed)
    (folder / "bin-images").mkdir(parents=True)
    (folder / "metadata").mkdir()
    for number, known in enumerate(ids):
        (folder / f"bin-images/{known}.jpg").write_bytes(random_.randbytes(random_.randint(500, 3000)))
        if known not in without_metadata:
            products = (Product(f"B{number:09}", "Box", number % 7),)
            (folder / f"metadata/{known}.json").write_bytes(metadata_json(BinRecord(known, number % 7, products)))
    return folder


class FaultyServer:
    """Serves a folder, or stands in front of another server, and fails where `faults` says so.

    `faults["/bin-images/1.jpg"] = ["503", "cut"]` spoils the first two answers for that path (or pattern): "503", "429"
    and "403" are statuses, "cut" sends half the body, "reset" closes without an answer, "stall" answers a second later,
    "flip" changes a byte. `always` are faults that never pass.
    """

    def __init__(self, folder: Path | None = None, *, upstream: str | None = None, delay_s: float = 0.0) -> None:
        self.folder, self.upstream, self.delay_s = folder, upstream, delay_s
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.always: dict[str, str] = {}
        self.requests: Counter[str] = Counter()
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()

    def next_fault(self, path: str) -> str | None:
        with self.lock:
            self.requests[path] += 1
            for pattern, faults in self.faults.items():
                if faults and fnmatch(path, pattern):
                    return faults.pop(0)
        return self.always.get(path)

    def answer(self, method: str, target: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        if self.upstream:
            connection = http.client.HTTPConnection(urlsplit(self.upstream).netloc, timeout=10)
            try:
                connection.request(method, target, headers=headers)
                reply = connection.getresponse()
                kept = {k: v for k, v in reply.getheaders() if k.lower() in {"etag", "content-type", "last-modified"}}
                return reply.status, kept, reply.read()
            finally:
                connection.close()
        if self.folder is None:
            raise ValueError("neither a folder nor a server to stand in front of")
        path = self.folder / unquote(urlsplit(target).path).lstrip("/")
        return (200, {}, path.read_bytes()) if path.is_file() else (404, {}, b"no such object")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behaviour: FaultyServer

    def do_GET(self) -> None:
        faulty = self.behaviour
        with faulty.lock:
            faulty.in_flight += 1
            faulty.most_in_flight = max(faulty.most_in_flight, faulty.in_flight)
        try:
            self._answer(faulty.next_fault(unquote(urlsplit(self.path).path)))
        finally:
            with faulty.lock:
                faulty.in_flight -= 1

    def _answer(self, fault: str | None) -> None:
        time.sleep(self.behaviour.delay_s + (1.0 if fault == "stall" else 0.0))
        if fault == "reset":
            self.close_connection = True
            return
        status, headers, body = self.behaviour.answer("GET", self.path, dict(self.headers.items()))
        if fault in {"403", "429", "503"}:
            status, body = int(fault), b"not now"
        if fault == "flip":
            body = bytes([body[0] ^ 1]) + body[1:]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)
        if fault == "cut":
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(
        self, request: object, client_address: object
    ) -> None: ...  # a killed client hangs up; that is the point


@contextmanager
def serving(server: FaultyServer) -> Iterator[str]:
    """The address of `server`, which answers until the block ends."""
    handler = type("Handler", (_Handler,), {"behaviour": server})
    with _Server(("127.0.0.1", 0), handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.server_port}"
        finally:
            listener.shutdown()
            thread.join()


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a data folder but the journal, with its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".fetch.journal"
    }
