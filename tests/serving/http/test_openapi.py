"""The documented API against the real one: every endpoint, every example, every answer."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from bintally.counting.counter import Counter
from bintally.serving.http.body import FIELDS
from tests.bundles import bin_photo
from tests.serving.services import client_of


@pytest.fixture(scope="module")
def client(counter: Counter, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    state = tmp_path_factory.mktemp("state")
    with client_of(counter, samples=samples, state=state, models=counter.bundle.folder.parent) as client:
        yield client


@pytest.fixture(scope="module")
def api(client: TestClient) -> dict[str, Any]:
    return dict(client.get("/openapi.json").json())


def operations(api: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_the_api_is_valid_openapi(api: dict[str, Any]) -> None:
    validate(api)
    names = [operation["operationId"] for _, _, operation in operations(api)]
    assert len(set(names)) == len(names)


def test_every_operation_says_what_it_is_for_and_what_it_may_answer(api: dict[str, Any]) -> None:
    for method, path, operation in operations(api):
        assert operation["summary"], (method, path)
        assert len(operation["tags"]) == 1, (method, path)
        assert any(status.startswith("2") for status in operation["responses"]), (method, path)
        is_open = "security" not in operation
        assert is_open or {"401", "403"} <= set(operation["responses"]), (method, path)
        assert is_open == bool(re.search("ping|health", path)), (method, path)


def test_every_path_that_is_served_is_documented(client: TestClient, api: dict[str, Any]) -> None:
    pages = {"/", "/docs", "/openapi.json"}
    served = {getattr(route, "path", "") for route in client.app.routes}  # type: ignore[attr-defined]
    assert served - pages == set(api["paths"])


def test_all_that_may_be_said_of_a_photo_is_documented(api: dict[str, Any]) -> None:
    counts = api["paths"]["/v1/counts"]["post"]
    assert {each["name"] for each in counts["parameters"] if each["in"] == "query"} == set(FIELDS)
    form = counts["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {"photo", *FIELDS}
    assert set(api["components"]["schemas"]["PhotoRequest"]["properties"]) == {"image", "url", *FIELDS}


def check(api: dict[str, Any], method: str, path: str, response: Any) -> None:
    """The answer is one of those documented, and its JSON has the documented shape."""
    documented = api["paths"][path][method.lower()]["responses"]
    assert str(response.status_code) in documented, (method, path, response.status_code, response.text)
    content = documented[str(response.status_code)].get("content", {})
    kind = response.headers["content-type"].partition(";")[0]
    assert kind in content, (method, path, kind)
    if kind == "application/json":
        schema = {**content[kind]["schema"], "components": api["components"]}
        OAS31Validator(schema).validate(response.json())


PHOTO = bin_photo(2)
PNG = {"content-type": "image/png"}
INFER = {"inputs": [{"name": "photos", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(PHOTO).decode()]}]}
ASKED: list[tuple[str, str, str, dict[str, Any]]] = [
    ("POST", "/v1/counts", "/v1/counts?recorded_count=2", {"content": PHOTO, "headers": PNG}),
    ("POST", "/v1/counts", "/v1/counts", {"files": [("photo", ("a", PHOTO)), ("photo", ("b", b"x"))]}),
    ("POST", "/v1/counts", "/v1/counts", {"content": b"", "headers": PNG}),
    ("POST", "/v1/counts", "/v1/counts", {"json": {"url": "http://camera/1.jpg"}}),
    ("POST", "/v1/counts", "/v1/counts", {"content": PHOTO, "headers": PNG | {"accept": "text/html"}}),
    ("POST", "/v1/overlay", "/v1/overlay", {"content": PHOTO, "headers": PNG}),
    ("POST", "/v1/overlay", "/v1/overlay", {"content": PHOTO, "headers": PNG | {"accept": "application/json"}}),
    ("POST", "/v1/overlay", "/v1/overlay", {"content": b"x", "headers": PNG}),
    ("GET", "/ping", "/ping", {}),
    ("POST", "/invocations", "/invocations", {"content": PHOTO, "headers": PNG}),
    ("POST", "/invocations", "/invocations", {"json": {"image": "?"}}),
    ("GET", "/models", "/models", {}),
    ("POST", "/models", "/models", {"json": {"model_name": "a", "url": "tiny"}}),
    ("POST", "/models", "/models", {"json": {"model_name": "a", "url": "tiny"}}),
    ("POST", "/models", "/models", {"json": {"model_name": "b", "url": "/etc"}}),
    ("GET", "/models", "/models", {}),
    ("GET", "/models/{model}", "/models/a", {}),
    ("POST", "/models/{model}/invoke", "/models/a/invoke", {"content": PHOTO, "headers": PNG}),
    ("POST", "/models/{model}/invoke", "/models/b/invoke", {"content": PHOTO, "headers": PNG}),
    ("DELETE", "/models/{model}", "/models/a", {}),
    ("DELETE", "/models/{model}", "/models/a", {}),
    ("GET", "/v2", "/v2", {}),
    ("GET", "/v2/health/live", "/v2/health/live", {}),
    ("GET", "/v2/health/ready", "/v2/health/ready", {}),
    ("GET", "/v2/models/{model}", "/v2/models/tiny", {}),
    ("GET", "/v2/models/{model}", "/v2/models/giant", {}),
    ("GET", "/v2/models/{model}/versions/{version}", "/v2/models/tiny/versions/1", {}),
    ("GET", "/v2/models/{model}/ready", "/v2/models/tiny/ready", {}),
    ("POST", "/v2/models/{model}/infer", "/v2/models/tiny/infer", {"json": INFER}),
    ("POST", "/v2/models/{model}/infer", "/v2/models/tiny/infer", {"json": {}}),
    ("GET", "/model", "/model", {}),
    ("GET", "/samples", "/samples", {}),
    ("GET", "/samples/{name}", "/samples/00001.jpg", {}),
    ("GET", "/samples/{name}", "/samples/none.jpg", {}),
    ("GET", "/health", "/health", {}),
    ("GET", "/health/ready", "/health/ready", {}),
    ("GET", "/metrics", "/metrics", {}),
]


def test_what_is_answered_is_what_is_documented(client: TestClient, api: dict[str, Any]) -> None:
    for method, path, url, request in ASKED:
        check(api, method, path, client.request(method, url, **request))


def test_the_records_are_what_is_really_sent(client: TestClient, api: dict[str, Any]) -> None:
    schemas = api["components"]["schemas"]
    answer = client.post("/v1/counts?recorded_count=2", content=PHOTO, headers=PNG).json()
    assert set(answer) <= set(schemas["CountAnswer"]["properties"])
    assert set(answer["verdict"]) == set(schemas["Verdict"]["properties"])
    assert set(schemas["ModelSummary"]["properties"]) == set(client.get("/model").json())
