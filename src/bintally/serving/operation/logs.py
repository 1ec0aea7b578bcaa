"""Logs: one line an event, JSON for machines or text for people, written to stderr by a thread of its own.

Whoever logs never waits for the terminal, pipe or disk behind stderr: lines go through a bounded queue, and where that
is full they are dropped and counted, because a service must not stand still for its log. Secrets that have a shape are
hidden in every line (`serving.redaction`).
"""

import logging
import queue
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

import msgspec

from bintally.serving.redaction import scrubbed

FIELDS: Final = "fields"
"""Name of the `extra` whose dict is merged into a JSON line: `log.info("...", extra={FIELDS: {"model": name}})`."""

QUEUED: Final = 10_000
FLUSH_S: Final = 2.0
"""How long the end of the service waits for a log that is not read."""

REPEATS: Final = 5
WINDOW_S: Final = 60.0
_KINDS: Final = 1000


class JsonLines(logging.Formatter):
    """A record as one JSON object: time (UTC), level, logger, message, the record's fields, and a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line = {
            "time": _moment(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class TextLines(logging.Formatter):
    """A record as a line to read; what could move the cursor or fake a line is escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end; a traceback stands on lines of its own."""
        words = " ".join(f"{key}={value}" for key, value in _fields(record).items())
        text = f"{record.getMessage()}  {words}".rstrip()
        line = f"{_moment(record).astimezone():%H:%M:%S} {record.levelname.lower():<7} {_printable(text)}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class Repeats(logging.Filter):
    """Of warnings and errors of one kind, lets through the first few a minute; the next says how many it stands for."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[object, ...], tuple[float, int]] = {}  # when the minute began, and how many since

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` is written."""
        if record.levelno < logging.WARNING:
            return True
        kind = (record.name, record.levelno, record.msg, record.exc_info and record.exc_info[0])
        now = time.monotonic()
        began, number = self._seen.get(kind, (now, 0))
        left_out = number - REPEATS
        if now - began >= WINDOW_S:
            began, number = now, 0
            if left_out > 0:
                setattr(record, FIELDS, {**_fields(record), "left_out": left_out})
        if len(self._seen) >= _KINDS:
            self._seen.clear()
        self._seen[kind] = (began, number + 1)
        return number < REPEATS


class BackgroundHandler(logging.Handler):
    """Writes records to `stream` in a thread of its own."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        # A simple one, because a signal's handler may log while the same thread is in the middle of putting a record.
        self._queue: queue.SimpleQueue[logging.LogRecord | None] = queue.SimpleQueue()
        self._lost = 0
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queues `record`, its message made now: what it is made of may change."""
        record.msg, record.args = record.getMessage(), None
        if self._queue.qsize() < QUEUED:
            self._queue.put(record)
        else:
            self._lost += 1

    def close(self) -> None:
        """Writes what is queued, as far as somebody reads it."""
        self._queue.put(None)
        super().close()
        self._thread.join(FLUSH_S)

    def _write_all(self) -> None:
        while (record := self._queue.get()) is not None:
            if self._lost:
                lost, self._lost = self._lost, 0
                record = _with_fields(record, lines_lost=lost)
            try:
                self._stream.write(scrubbed(self.format(record)) + "\n")
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads stderr any more
                continue


@contextmanager
def logging_to_stderr(
    *, level: Literal["debug", "info", "warning", "error"], form: Literal["auto", "json", "text"]
) -> Iterator[None]:
    """Everything that is logged goes to stderr while the block runs: ours from `level` on, others' warnings."""
    is_text = sys.stderr.isatty() if form == "auto" else form == "text"
    handler = BackgroundHandler(sys.stderr)
    handler.setFormatter(TextLines() if is_text else JsonLines())
    handler.addFilter(Repeats())
    root, ours = logging.getLogger(), logging.getLogger("bintally")
    before = ours.level
    ours.setLevel(level.upper())
    root.addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)
        ours.setLevel(before)
        handler.close()


def _moment(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    return getattr(record, FIELDS, {})


def _with_fields(record: logging.LogRecord, **fields: Any) -> logging.LogRecord:
    setattr(record, FIELDS, {**_fields(record), **fields})
    return record


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
