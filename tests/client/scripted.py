"""An HTTP server that answers what a test told it to: proxies and services in trouble."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import NamedTuple

COUNTED = json.dumps({"count": 3, "probabilities": {"3": 1.0}, "request_id": "r"}).encode()


class Said(NamedTuple):
    """One answer; status 0 closes the connection without one. `drip_s`: seconds between its bytes."""

    status: int
    body: bytes = b"<html>not from here</html>"
    headers: tuple[tuple[str, str], ...] = ()
    drip_s: float = 0.0


def overloaded(retry_after_s: str = "0") -> Said:
    error = {"error": {"code": "overloaded", "message": "Too much.", "hint": "Later."}}
    return Said(503, json.dumps(error).encode(), (("Retry-After", retry_after_s),))


@contextmanager
def scripted(answers: Sequence[Said]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Its address, and the headers of the requests it got. The last answer is given for ever."""
    got: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            said = answers[min(len(got), len(answers) - 1)]
            got.append({name.lower(): value for name, value in self.headers.items()})
            if not said.status:
                self.close_connection = True
                return
            self.send_response(said.status)
            for name, value in (*said.headers, ("Content-Length", str(len(said.body)))):
                self.send_header(name, value)
            self.end_headers()
            if not said.drip_s:
                self.wfile.write(said.body)
                return
            with suppress(OSError):  # whoever asked has gone
                for place in range(len(said.body)):
                    self.wfile.write(said.body[place : place + 1])
                    time.sleep(said.drip_s)

        do_GET = do_POST  # noqa: N815 - http.server's name

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
