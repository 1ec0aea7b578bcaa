import logging
from collections.abc import Mapping
from typing import Any

import pytest

from bintally.counting.counter import Counter
from bintally.errors import RequestError
from bintally.serving.answer import CountAnswer
from bintally.serving.asked import Asked
from bintally.serving.operation.logs import FIELDS
from bintally.serving.operation.requests import AccessLog
from tests.bundles import bin_photo
from tests.serving.services import client_of

PNG = {"Content-Type": "image/png"}


def lines_of(caplog: pytest.LogCaptureFixture) -> list[Mapping[str, Any]]:
    return [getattr(each, FIELDS) for each in caplog.records if each.name == "bintally.access"]


def test_a_request_is_one_line_with_what_was_counted(counter: Counter, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bintally")
    photo = bin_photo(2)
    with client_of(counter) as client:
        answer = client.post(
            "/invocations?bin_image_id=secret", content=photo, headers={**PNG, "X-Request-Id": "a-1"}
        ).json()
    [line] = lines_of(caplog)
    assert line["request_id"] == answer["request_id"] == "a-1"
    assert (line["method"], line["path"], line["status"]) == ("POST", "/invocations", 200)
    assert (line["door"], line["count"], line["model"]) == ("sagemaker", 2, "tiny")
    assert line["probability"] == pytest.approx(answer["probabilities"]["2"], abs=1e-4)
    assert (line["photos"], line["photo_bytes"]) == (1, len(photo))
    assert line["ms"] > 0
    assert "secret" not in str(line)


def test_a_refusal_is_a_line_with_its_code(counter: Counter, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bintally")
    with client_of(counter) as client:
        client.post("/invocations", content=b"no photo", headers=PNG)
        client.get("/nowhere")
    bad, missing = lines_of(caplog)
    assert (bad["status"], bad["error"]) == (400, "bad_photo")
    assert (missing["status"], missing["path"]) == (404, "/nowhere")


def test_a_batch_is_one_line(counter: Counter, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bintally")
    files = [("photo", (f"{count}.png", bin_photo(count), "image/png")) for count in (1, 2, 3)]
    with client_of(counter) as client:
        assert client.post("/v1/counts", files=files).status_code == 200
    [line] = lines_of(caplog)
    assert line["photos"] == 3
    assert line["photo_bytes"] == sum(len(photo) for _, (_, photo, _) in files)
    assert "count" not in line


def test_probes_do_not_fill_the_log(counter: Counter, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bintally")
    with client_of(counter) as client:
        for path in ("/ping", "/health", "/health/ready", "/metrics"):
            assert client.get(path).status_code == 200
    assert lines_of(caplog) == []


def test_a_door_without_http_has_lines_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bintally")
    watcher, asked = AccessLog(), Asked(photo=b"abc", door="mqtt", client="robot", bin_id="A-1")
    watcher.answered(asked, CountAnswer(count=2, probabilities={"2": 0.9}, model="tiny"), 0.01)
    watcher.refused(asked, RequestError("no", status=422, code="invalid_request"), 0.01)
    counted, refused = lines_of(caplog)
    assert (counted["door"], counted["client"], counted["bin_id"], counted["count"]) == ("mqtt", "robot", "A-1", 2)
    assert refused["error"] == "invalid_request"
    assert refused["request_id"] == asked.request_id
