import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from bintally.errors import RequestError
from bintally.serving.aws_lambda.buckets import _client
from bintally.serving.aws_lambda.function import Function, _response
from bintally.serving.settings import ServeConfig
from tests.bundles import bin_photo
from tests.serving.aws_lambda.golden import Context, http_api, rest, stored

PHOTO = bin_photo(3, image_format="JPEG")
BASE64 = base64.b64encode(PHOTO).decode()
BUCKET = "bin-photos"


@pytest.fixture(scope="module")
def function(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Function]:
    state = tmp_path_factory.mktemp("state")
    function = Function(ServeConfig.of({"bundle": bundle, "threads": 1, "state": state, "max_photo_mb": 1}))
    yield function
    function.close()


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A moto server with photos under s3://bin-photos/."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        for key, body in {"aisle 7/ä.jpg": PHOTO, "text.jpg": b"no photo", "huge.jpg": bytes(2**20 + 1)}.items():
            client.put_object(Bucket=BUCKET, Key=key, Body=body)
        client.close()
        yield BUCKET
        _client().close()
        _client.cache_clear()
    server.stop()


def told(response: dict[str, Any]) -> dict[str, Any]:
    assert response["headers"]["Content-Type"] == "application/json"
    assert response["isBase64Encoded"] is False
    body: dict[str, Any] = json.loads(response["body"])
    return body


@pytest.mark.parametrize("shape", [rest, http_api])
def test_a_photo_as_it_is_and_in_json_is_counted(function: Function, shape: Any) -> None:
    in_json = json.dumps({"image": BASE64, "counts": "1-5"})
    for event in (
        shape(PHOTO),
        shape(in_json.encode(), content_type="application/json"),
        {**shape(b"", content_type="application/json; charset=utf-8"), "body": in_json, "isBase64Encoded": False},
    ):
        response = function(event, Context())
        assert response["statusCode"] == 200, response
        assert told(response)["count"] == 3
        assert response["headers"]["X-Request-Id"] == Context().aws_request_id


@pytest.mark.parametrize(
    "event",
    [
        rest(PHOTO, multiValueQueryStringParameters={"counts": ["1-2"], "bin_image_id": ["17"]}),
        rest(PHOTO, queryStringParameters={"counts": "1-2", "bin_image_id": "17"}),
        http_api(PHOTO, rawQueryString="counts=1-2&bin_image_id=17"),
    ],
    ids=["multi", "single", "raw"],
)
def test_the_query_says_what_is_known_of_a_photo(function: Function, event: dict[str, Any]) -> None:
    answer = told(function(event, Context()))
    assert set(answer["probabilities"]) == {"1", "2"}
    assert answer["bin_image_id"] == "17"


def test_an_idempotency_key_brings_the_first_answer(function: Function) -> None:
    event = http_api(PHOTO)
    event["headers"]["idempotency-key"] = "scan-1"
    second = Context()
    second.aws_request_id = "another-invocation"
    first, again = function(event, Context()), function(event, second)
    assert first["body"] == again["body"]
    assert again["headers"]["Idempotency-Replayed"] == "true"
    assert again["headers"]["X-Request-Id"] == "another-invocation"


@pytest.mark.parametrize("shape", [rest, http_api])
@pytest.mark.parametrize(
    ("photo", "content_type", "more", "status", "code"),
    [
        (b"no photo", "image/jpeg", {}, 400, "bad_photo"),
        (b"", "image/jpeg", {}, 400, "bad_photo"),
        (PHOTO, "text/plain", {}, 415, "unsupported_content_type"),
        (PHOTO, "", {}, 415, "unsupported_content_type"),
        (b"{}", "application/json", {}, 422, "invalid_request"),
        (b'{"image": 3}', "application/json", {}, 422, "invalid_request"),
        (b'{"url": "http://169.254.169.254/"}', "application/json", {}, 403, "url_not_allowed"),
        (PHOTO + bytes(2**20), "image/jpeg", {}, 413, "photo_too_large"),
        (PHOTO, "image/jpeg", {"body": "%%%"}, 422, "invalid_request"),
        (PHOTO, "image/jpeg", {"body": 7}, 422, "invalid_request"),
        (PHOTO, "image/jpeg", {"body": None}, 400, "bad_photo"),
        (PHOTO, "image/jpeg", {"headers": None}, 415, "unsupported_content_type"),
    ],
)
def test_refusals_are_those_of_http(
    function: Function, shape: Any, photo: bytes, content_type: str, more: dict[str, Any], status: int, code: str
) -> None:
    response = function(shape(photo, content_type=content_type, **more), Context())
    assert (response["statusCode"], told(response)["error"]["code"]) == (status, code)


def test_other_methods_say_what_is_there(function: Function) -> None:
    ping = function(rest(b"", httpMethod="GET"), Context())
    assert (ping["statusCode"], told(ping)["model"]) == (200, "tiny")
    assert function(rest(b"", httpMethod="DELETE"), Context())["statusCode"] == 405


def test_called_directly_it_answers_plainly(function: Function) -> None:
    answer = function({"image": BASE64, "recorded_count": 3, "idempotency_key": "direct-1"}, Context())
    assert answer["count"] == 3
    assert answer["verdict"]["recorded_count"] == 3


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"image": "%%%"},
        {"image": BASE64, "colour": "red"},
        {"image": BASE64, "url": "http://camera.example/last.jpg"},
        {"image": BASE64, "s3": {"bucket": BUCKET, "key": "a"}},
        {"s3": {"bucket": BUCKET}},
        {"s3": "s3://bucket/key"},
        {"image": BASE64, "idempotency_key": 7},
        {"Records": []},
        {"Records": [{"eventSource": "aws:sqs", "body": "{}"}]},
        {"Records": [{"eventSource": "aws:s3"}]},
        {"Records": 7},
        ["a list"],
        None,
        "text",
    ],
)
def test_what_is_no_event_of_ours_is_told_so(function: Function, event: Any) -> None:
    answer = function(event, Context())
    assert (answer["status"], answer["error"]["code"]) == (422, "invalid_request")
    assert answer["error"]["hint"]


def test_nothing_is_counted_that_lambda_would_cut_off(function: Function) -> None:
    response = function(http_api(PHOTO), Context(left_ms=400))
    assert (response["statusCode"], told(response)["error"]["code"]) == (504, "deadline_exceeded")
    assert function(http_api(PHOTO), Context())["statusCode"] == 200


def test_photos_are_read_from_s3(function: Function, bucket: str) -> None:
    assert function({"s3": {"bucket": bucket, "key": "aisle 7/ä.jpg"}, "counts": "1-5"}, Context())["count"] == 3
    for key, status, code in (
        ("missing.jpg", 400, "s3_unreadable"),
        ("text.jpg", 400, "bad_photo"),
        ("huge.jpg", 413, "photo_too_large"),
    ):
        answer = function({"s3": {"bucket": bucket, "key": key}}, Context())
        assert (answer["status"], answer["error"]["code"]) == (status, code)


def test_a_buckets_notification_is_answered_for_each_photo(function: Function, bucket: str) -> None:
    good, missing = function(stored(bucket, "aisle+7/%C3%A4.jpg", "missing.jpg"), Context())["results"]
    assert (good["bucket"], good["key"], good["answer"]["count"]) == (bucket, "aisle 7/ä.jpg", 3)
    assert missing["error"]["code"] == "s3_unreadable"
    test = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": bucket}
    assert function(test, Context()) == {"results": []}


def test_a_notification_that_lambda_brings_again_is_answered_once(function: Function, bucket: str) -> None:
    def ask(sequencer: str) -> Any:
        [result] = function(stored(bucket, "aisle+7/%C3%A4.jpg", sequencer=sequencer), again)["results"]
        return result["answer"]

    again = Context()
    first = ask("1")
    again.aws_request_id = "another"
    assert ask("1") == first
    assert ask("2")["request_id"] == "another-0"  # the object was put there anew


def test_when_to_come_again_is_rounded_up_as_by_http() -> None:
    later = RequestError("Later.", status=503, code="overloaded", retry_after_s=1.2)
    response = _response(later, {"request_id": "a"})
    assert response["headers"]["Retry-After"] == "2"


def test_a_notification_that_can_not_be_followed_just_now_is_tried_again_by_lambda(
    function: Function, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RequestError) as error:  # no time left: it may do better when it is called again
        function(stored(bucket, "aisle+7/%C3%A4.jpg", sequencer="3"), Context(left_ms=100))
    assert error.value.status == 504


def test_a_cold_start_counts_at_once_with_settings_from_the_environment(bundle: Path, tmp_path: Path) -> None:
    code = (
        "import json, sys; from bintally.serving.aws_lambda import handler; "
        "from bintally.serving.aws_lambda.function import _functions; assert _functions, 'not loaded at init'; "
        "from tests.serving.aws_lambda.golden import Context; "
        "answer = handler(json.load(sys.stdin), Context()); print(json.dumps(answer)); "
        "assert not {'fastapi', 'uvicorn', 'boto3', 'paho'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps({"image": BASE64}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={
            **os.environ,
            "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
            "BINTALLY_SERVE_BUNDLE": str(bundle),
            "BINTALLY_SERVE_STATE": str(tmp_path),
            "BINTALLY_SERVE_REQUIRE_KEYS": "never",
        },
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["count"] == 3
