"""What Tryton's answers mean: later, or never."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bintally.errors import ErpRefusedError, ErpUnavailableError
from bintally.inventory.erp.tryton import TrytonConnector, TrytonSettings
from tests.inventory.erp.tryton_server import PASSWORD, USER


@contextmanager
def answering(status: int, body: str, **headers: str) -> Iterator[str]:
    """The address of something that always answers that."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body.encode()))}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_request(self, code: object = "-", size: object = "-") -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (500, "oops", ErpUnavailableError, "HTTP 500"),
        (503, "locked", ErpUnavailableError, "HTTP 503"),
        (429, "", ErpUnavailableError, "HTTP 429"),
        (403, "", ErpRefusedError, "HTTP 403"),
        (200, "<html>Welcome</html>", ErpRefusedError, "no Tryton"),
        (200, '{"id": 0}', ErpRefusedError, "no Tryton"),
        (200, {"error": ["ConcurrencyException", "Records were modified"]}, ErpUnavailableError, "were modified"),
        (200, {"error": ["'stock.inventory'", ""]}, ErpUnavailableError, "failed with 'stock.inventory'"),
        (200, {"error": ["UserError", ["No.", "Not\nthat.", None]]}, ErpRefusedError, "^No. Not that.$"),
        (200, {"error": ["UserWarning", ["name_1", "Sure?", ""]]}, ErpRefusedError, r"^Sure\?$"),
        (200, {"error": ["LoginException", ["sms", "Code", "char"]]}, ErpRefusedError, "^Code$"),
    ],
)
def test_answers_mean_later_or_never(
    status: int, body: str | dict[str, object], error: type[Exception], words: str
) -> None:
    with answering(status, body if isinstance(body, str) else json.dumps(body), Retry_After="7") as url:
        connector = TrytonConnector(TrytonSettings(url=url, database="depot", user=USER), PASSWORD)
        with pytest.raises(error, match=words) as caught:
            connector.about()
        connector.close()
    if status == 429:
        assert isinstance(caught.value, ErpUnavailableError)
        assert caught.value.retry_after_s == 7
