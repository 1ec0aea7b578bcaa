"""A stock system that takes events, as a process: it believes signatures, and takes each id once.

    python tests/inventory/erp/webhook/receiver.py SECRET [CERTIFICATE KEY]

Prints its port. What it gets is looked at by the reference libraries. `POST /faults` says how it answers the next
events (pings where the fault starts with "ping "): a status such as "503", with ":HEADER=VALUE" or ":BODY" after it;
"after" and "before": it hangs up without an answer, having done it or not; "slow": having done it, it is silent for a
while; "endless" and "cut": its answer is.
"""

import json
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cloudevents.core.bindings.http import HTTPMessage, from_http
from cloudevents.core.formats.json import JSONFormat
from standardwebhooks import Webhook, WebhookVerificationError

SLOW_S = 2.5


class Shelf:
    """What it holds, and what it was told."""

    def __init__(self, secret: str) -> None:
        self.webhook, self.lock = Webhook(secret), threading.Lock()
        self.stock: dict[str, dict[str, int]] = {}
        self.taken: list[str] = []  # ids, each once
        self.events: list[dict[str, Any]] = []  # all that it believed, again and again
        self.faults: list[str] = []

    def fault(self, is_ping: bool) -> str:
        """How this event is answered; nothing: as it should be."""
        if self.faults and self.faults[0].startswith("ping ") == is_ping:
            return self.faults.pop(0).removeprefix("ping ")
        return ""

    def refusal(self, data: dict[str, Any]) -> str | None:
        """Why it can't be booked."""
        skus = {line["product"] for line in data["lines"]}
        return "no such product" if "NO-SUCH-PRODUCT" in skus else None

    def book(self, event_id: str, data: dict[str, Any]) -> None:
        """Books an event, once."""
        if event_id in self.taken:
            return
        self.taken.append(event_id)
        held = self.stock.setdefault(data["bin"], {})
        for line in data["lines"]:
            sku = line["product"] or next(iter(held), "?")
            held[sku] = held.get(sku, 0) + line["change"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    shelf: Shelf

    def do_GET(self) -> None:
        with self.shelf.lock:
            told = {name: getattr(self.shelf, name) for name in ("stock", "taken", "events", "faults")}
            self._answer(200, json.dumps(told).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.shelf.lock:
            if self.path == "/put":
                code, lines = json.loads(body)
                self.shelf.stock.setdefault(code, {}).update(lines)
                self._answer(200)
            elif self.path == "/faults":
                self.shelf.faults = json.loads(body)
                self._answer(200)
            else:
                self._take(body)

    def _take(self, body: bytes) -> None:
        try:
            self.shelf.webhook.verify(body, dict(self.headers))
        except WebhookVerificationError as error:
            return self._answer(401, json.dumps({"detail": str(error)}).encode())
        event = from_http(HTTPMessage(dict(self.headers), body), JSONFormat())
        if event.get_id() != self.headers["webhook-id"]:
            return self._answer(400, b'{"detail": "two ids"}')
        told = event.get_attributes() | {"time": str(event.get_time()), "data": event.get_data()}
        self.shelf.events.append(told | {"headers": {name.lower(): value for name, value in self.headers.items()}})
        is_ping = event.get_type() == "bintally.ping.v1"
        fault = self.shelf.fault(is_ping)
        if is_ping or fault[:1].isdigit():
            return self._say(fault or "200")
        return self._book(event.get_id(), event.get_data(), fault)

    def _book(self, event_id: str, data: Any, fault: str) -> None:
        why = self.shelf.refusal(data)
        if why is not None:
            return self._answer(422, json.dumps({"detail": why}).encode())
        if fault != "before":
            self.shelf.book(event_id, data)
        if fault == "slow":
            time.sleep(SLOW_S)
        if fault in ("before", "after"):
            self.close_connection = True
            return None
        if fault in ("endless", "cut"):
            return self._half(100_000_000 if fault == "endless" else 20)
        return self._answer(200, json.dumps({"document": len(self.shelf.taken)}).encode())

    def _say(self, fault: str) -> None:
        status, _, rest = fault.partition(":")
        name, equals, value = rest.partition("=")
        if equals and name.replace("-", "").isalpha():
            return self._answer(int(status), b"", {name: value})
        return self._answer(int(status), rest.encode())

    def _half(self, length: int) -> None:
        """An answer that is not sent to its end."""
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(b"x" * min(length // 2, 200_000))
        self.close_connection = True

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hung up need not be told."""


def main(secret: str, *files: str) -> None:
    Handler.shelf = Shelf(secret)
    server = Server(("127.0.0.1", 0), Handler)
    if files:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
