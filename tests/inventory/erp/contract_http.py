"""Contract servers: stock systems that can't run here, as real HTTP servers that are written from what they document.

Each keeps its state in memory, and carries out one request at a time, whole or not at all, as a database would. Its
`faults` are taken once each, by the call they name:

* "before": it fails without having done it (HTTP 500);
* "after": it does it, and fails;
* "silent": it does it, and nobody hears of it until long after the sender has given up;
* "late": nobody hears of it, and it is done when `deliver` is called;
* "twice": something on the way sends it a second time, and the sender gets the second answer;
* a function: that happens just before, such as a pick.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

_GIVEN_UP_S = 5.0


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked. `call`: its name among the faults."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


class Reply(msgspec.Struct, frozen=True):
    status: int
    body: Any


class ContractServer:
    """The HTTP side; a subclass answers. `requests`: all that was asked, in order."""

    STATE: ClassVar[tuple[str, ...]] = ()
    """Attributes that are put back when a request fails."""

    def __init__(self) -> None:
        self.faults: list[tuple[str, str | Callable[[], object]]] = []
        self.requests: list[Request] = []
        self.url = ""
        self._late: list[Request] = []
        self._lock = threading.RLock()
        self._closing = threading.Event()

    def call_of(self, request: Request) -> str:
        """The name of what is asked, among the faults."""
        raise NotImplementedError

    def answer(self, request: Request) -> Reply:
        """Carries a request out."""
        raise NotImplementedError

    def failed(self) -> Reply:
        """What it says when it fails."""
        return Reply(500, {"error": "Internal Server Error"})

    def deliver(self) -> list[Reply]:
        """What was on its way arrives."""
        late, self._late = self._late, []
        return [self._whole(request) for request in late]

    def handle(self, request: Request) -> Reply | None:
        """What is answered; None: nothing, for long."""
        with self._lock:
            self.requests.append(request)
            fault = self._fault(self.call_of(request))
            if fault == "before":
                return self.failed()
            if fault == "late":
                self._late.append(request)
                return None
            if callable(fault):
                fault()
            reply = self._whole(request)
            if fault == "twice":
                reply = self._whole(request)
            if fault == "after":
                return self.failed()
            return None if fault == "silent" else reply

    @contextmanager
    def serving(self) -> Iterator[Self]:
        """On a free port of this machine."""
        with ThreadingHTTPServer(("127.0.0.1", 0), _handler(self)) as http:
            thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            self.url = f"http://127.0.0.1:{http.server_address[1]}"
            try:
                yield self
            finally:
                self._closing.set()
                http.shutdown()
                thread.join()

    def give_up(self) -> None:
        """Waits for as long as the server is up, or for long."""
        self._closing.wait(_GIVEN_UP_S)

    def _fault(self, call: str) -> str | Callable[[], object] | None:
        return self.faults.pop(0)[1] if self.faults and self.faults[0][0] == call else None

    def _whole(self, request: Request) -> Reply:
        """Carries a request out, or puts everything back as it was."""
        before = {name: deepcopy(getattr(self, name)) for name in self.STATE}
        reply = self.answer(request)
        if reply.status >= 400 or (isinstance(reply.body, dict) and "error" in reply.body):
            for name, value in before.items():
                setattr(self, name, value)
        return Reply(reply.status, deepcopy(reply.body))


def _handler(server: ContractServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._answer()

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - http.server's names

        def _answer(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            address = urlsplit(self.path)
            request = Request(
                method=self.command,
                path=unquote(address.path),
                query=dict(parse_qsl(address.query)),
                headers={name.lower(): value for name, value in self.headers.items()},
                body=json.loads(text) if text else None,
            )
            reply = server.handle(request)
            if reply is None:
                server.give_up()
                self.close_connection = True
                return
            body = json.dumps(reply.body).encode()
            self.send_response(reply.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
