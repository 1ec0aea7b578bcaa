"""`GuardedHttp`: uvicorn's HTTP on a connection, with bounds on what may come beside a request's body.

uvicorn on httptools takes headers of any size and waits for them for ever: connections that say little and slowly hold
a place each, one that never ends its headers (or what may follow a chunked body) fills the memory. Bodies have bounds
of their own (`http.reading`).
"""

import asyncio
from typing import ClassVar, Final

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bintally.serving.asked import new_id
from bintally.serving.http.guards.said import MAX_HEADER_BYTES
from bintally.serving.http.reading import LEAST_BYTES_PER_S
from bintally.serving.refusals import ErrorAnswer, ErrorDetail

MOST_PIPELINED: Final = 100
"""Requests that a connection may have sent before the first of them is answered: hardly any client sends two."""

_REASONS: Final = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}


class GuardedHttp(HttpToolsProtocol):
    """uvicorn's protocol, which ends a connection whose headers are too large or too slow, or who does not listen."""

    head_s: ClassVar[float] = 10.0
    """Seconds for a request's headers, and for a new connection to send any; between requests keep-alive's hold.

    The rest of a body that was answered before its end may take longer only as long as it keeps a body's pace."""

    unread_s: ClassVar[float] = 30.0
    """Seconds after which a client that takes none of its answers is let go."""

    _timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _in_head = False
    _in_body = False
    _dropped_bytes = 0  # of a body that was answered before its end, since the timer was started
    _steps = 0  # what has been understood: headers, pieces of bodies, ends
    _beside_bytes = 0  # what came since without anything being understood

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As asyncio calls it."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio calls it."""
        self._wait_no_more()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As asyncio calls it."""
        steps, keep_alive = self._steps, self.timeout_keep_alive_task
        super().data_received(data)
        if self._steps != steps:
            self._beside_bytes = 0
        else:
            self._beside_bytes += len(data)
            if self._beside_bytes > MAX_HEADER_BYTES:
                self._refuse(431, "headers_too_large", "The request's headers are too large.")
        if self._in_head and self._timer is None:
            self._wait()
        elif self._is_idle:
            self._keep_alive_until(keep_alive.when() if keep_alive else self.loop.time() + self.timeout_keep_alive)

    def pause_writing(self) -> None:
        """As asyncio calls it, when so much is unread that no more is written."""
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        """As asyncio calls it."""
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """As uvicorn calls it."""
        self._let_go()

    def on_message_begin(self) -> None:
        """As httptools calls it."""
        if len(self.pipeline) >= MOST_PIPELINED:
            raise ConnectionError("more requests than may wait")  # httptools stops at it, and uvicorn refuses
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """As httptools calls it, for what follows a chunked body too: nobody has asked for that."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """As httptools calls it."""
        self._in_head, self._in_body = False, True
        self._steps += 1
        self._wait_no_more()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """As httptools calls it."""
        self._steps += 1
        self._dropped_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """As httptools calls it."""
        self._steps += 1
        self._in_body = False
        self._wait_no_more()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn calls it; the rest of a refused body may still come, but it must come."""
        super().on_response_complete()
        if self._in_body and self.cycle.response_complete and not self.transport.is_closing():
            self._dropped_bytes = 0
            self._wait()

    def send_400_response(self, msg: str) -> None:
        """Uvicorn's answer to what is no HTTP, in the shape that our errors have."""
        self._refuse(400, "invalid_request", msg)

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self.head_s, self._too_slow)

    def _wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self._in_head:
            self._refuse(408, "too_slow", "The request's headers came too slowly.")
        elif self._dropped_bytes > self.head_s * LEAST_BYTES_PER_S:
            self._dropped_bytes = 0
            self._wait()
        else:
            self._let_go()

    @property
    def _is_idle(self) -> bool:
        """Whether nothing is under way, and nothing will end that: what came was no part of a request."""
        is_over = self.cycle is not None and self.cycle.response_complete and not self.transport.is_closing()
        return is_over and not (self._in_head or self._in_body) and self.timeout_keep_alive_task is None

    def _wait_for_reader(self) -> None:
        unread = self.transport.get_write_buffer_size()
        self._unread_timer = self.loop.call_later(self.unread_s, self._look_for_reader, unread)

    def _look_for_reader(self, unread: int) -> None:
        if self.transport.get_write_buffer_size() < unread:
            self._wait_for_reader()
        else:
            self.transport.abort()

    def _keep_alive_until(self, moment: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_at(moment, self.timeout_keep_alive_handler)

    def _let_go(self) -> None:
        """Ends the connection; answers that were not taken are not waited for."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answers, unless an answer is under way that this would tear, and ends the connection."""
        self._wait_no_more()
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(_answer(status, code, message))
        self.transport.close()


def _answer(status: int, code: str, message: str) -> bytes:
    body = msgspec.json.encode(ErrorAnswer(ErrorDetail(code, message, "Send a smaller, well-formed HTTP/1.1 request.")))
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"X-Request-Id: {new_id()}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body
