import io
import json
import logging
import os
import threading
from pathlib import Path

import pytest

from bintally.serving.operation import logs
from bintally.serving.operation.logs import FIELDS, BackgroundHandler, JsonLines, Repeats, TextLines, logging_to_stderr


def record(message: str, *arguments: object, level: int = logging.INFO, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("bintally.x", level, __file__, 1, message, arguments, None)
    setattr(made, FIELDS, fields)
    return made


def test_a_json_line_has_the_time_in_utc_and_the_records_fields() -> None:
    line = json.loads(JsonLines().format(record("%d counted", 3, model="tiny", path=Path("a"))))
    assert line["time"].endswith("Z")
    assert (line["level"], line["logger"], line["message"]) == ("info", "bintally.x", "3 counted")
    assert (line["model"], line["path"]) == ("tiny", "a")


def test_a_line_stays_one_line_whatever_it_says() -> None:
    assert "\n" not in JsonLines().format(record("two\nlines"))
    text = TextLines().format(record("two\nlines", path="\x1b[2Jgone"))
    assert "\n" not in text
    assert "\x1b" not in text


def test_a_traceback_stands_in_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to_stderr(level="info", form="json"):
        try:
            raise ValueError("odd")
        except ValueError:
            logging.getLogger("bintally.x").exception("It failed.")
    line = json.loads(capsys.readouterr().err)
    assert "ValueError: odd" in line["exception"]


def test_ours_are_written_from_their_level_on_and_others_from_warnings_on(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to_stderr(level="info", form="text"):
        logging.getLogger("bintally.x").debug("hidden")
        logging.getLogger("bintally.x").info("shown")
        logging.getLogger("uvicorn.error").info("hidden")
        logging.getLogger("uvicorn.error").warning("odd")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1:] for line in lines] == [["info", "shown"], ["warning", "odd"]]
    assert logging.getLogger().handlers == [each for each in logging.getLogger().handlers if not _is_ours(each)]


def _is_ours(handler: logging.Handler) -> bool:
    return isinstance(handler, BackgroundHandler)


def test_secrets_are_hidden_in_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to_stderr(level="info", form="json"):
        logging.getLogger("bintally.x").info("to %s", "mqtt://robot:hunter2@broker")
    line = capsys.readouterr().err
    assert "broker" in line
    assert "hunter2" not in line


def test_an_error_that_repeats_is_written_a_few_times_and_then_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    repeats = Repeats()
    let_through = [repeats.filter(record("Away: %d", each, level=logging.ERROR)) for each in range(20)]
    assert let_through == [True] * logs.REPEATS + [False] * 15
    assert repeats.filter(record("Another.", level=logging.ERROR))
    assert all(repeats.filter(record("request")) for _ in range(20))
    now += logs.WINDOW_S
    later = record("Away: %d", 20, level=logging.ERROR)
    assert repeats.filter(later)
    assert getattr(later, FIELDS)["left_out"] == 15


def test_a_log_that_nobody_reads_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "QUEUED", 10)
    monkeypatch.setattr(logs, "FLUSH_S", 0.1)
    reading, writing = os.pipe()
    lines: list[str] = []
    with os.fdopen(reading) as pipe, os.fdopen(writing, "w") as full:
        handler = BackgroundHandler(full)
        handler.setFormatter(JsonLines())
        for _ in range(200):
            handler.handle(record("x" * 4096))
        handler.close()
        reader = threading.Thread(target=lambda: lines.extend(pipe))
        reader.start()
        handler.close()
        full.close()
        reader.join(20)
    lost = [json.loads(line).get("lines_lost", 0) for line in lines if line.endswith("}\n")]
    assert sum(lost) > 100


def test_a_stderr_that_is_closed_ends_nothing() -> None:
    closed = io.StringIO()
    closed.close()
    handler = BackgroundHandler(closed)
    handler.setFormatter(JsonLines())
    handler.handle(record("unread"))
    handler.close()
    assert not handler._thread.is_alive()
