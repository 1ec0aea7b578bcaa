"""A service that does what none should: forgets keys, answers another's question, stands still, says nothing."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Thread
from urllib.parse import parse_qs, urlsplit

HEALTH = {"status": "ok", "model": "liar", "version": "0"}


@contextmanager
def lying(
    *, names: Callable[[str], str] = lambda name: name, stall_s: Callable[[str], float] = lambda name: 0.0
) -> Iterator[str]:
    """Counts every photo anew, under a request id of its own; `names` is what it says whose photo it was."""
    numbers = count()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._say(HEALTH)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            [name] = parse_qs(urlsplit(self.path).query).get("bin_image_id", [""])
            time.sleep(stall_s(name))
            told = {"count": 3, "expected_count": 3.0, "probabilities": {"3": 1.0}, "request_id": f"r{next(numbers)}"}
            self._say(told | {"bin_image_id": names(name)})

        def _say(self, told: object) -> None:
            body = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
