import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from bintally.counting.counter import Counter
from bintally.errors import ConfigError, UsageError
from bintally.serving.http import multi_model
from bintally.serving.http.app import create_app
from bintally.serving.http.house import House
from bintally.serving.http.multi_model import LoadRequest, Shelf
from bintally.serving.service import CountingService
from bintally.serving.settings import ServeConfig
from tests.bundles import bin_photo, make_bundle
from tests.serving.http.test_app import check_error
from tests.serving.services import client_of, service_of

PNG = {"content-type": "image/png"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as SageMaker fills it: models, what is none, and a link that leads out of it."""
    folder = tmp_path_factory.mktemp("models")
    make_bundle(folder / "0a1b" / "model", name="narrow", keys=("0", "1", "2", "3+"))
    shutil.copytree(folder / "0a1b", folder / "2c3d")
    (folder / "empty").mkdir()
    (folder / "torn").mkdir()
    (folder / "torn" / "card.json").write_text("{")
    (folder / "torn" / "model.onnx").write_bytes(b"")
    outside = make_bundle(tmp_path_factory.mktemp("outside") / "tiny")
    (folder / "link").symlink_to(outside)
    return folder


@pytest.fixture
def client(counter: Counter, models: Path, tmp_path: Path) -> Iterator[TestClient]:
    with client_of(counter, models=models, state=tmp_path, sagemaker=True) as client:
        yield client


def load(client: TestClient, name: str, url: object) -> Any:
    return client.post("/models", json={"model_name": name, "url": str(url)})


def test_a_service_that_is_stopping_is_not_healthy(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.get("/ping").status_code == 200
    with monkeypatch.context() as patch:
        patch.setattr("bintally.serving.http.sagemaker.unready", lambda _: "The service is shutting down.")
        check_error(client.get("/ping"), 503, "not_ready")


def test_custom_attributes_come_back_and_the_inference_id_is_taken(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    count = CountingService.count

    async def watched(self: CountingService, question: Any) -> Any:
        asked.append(question)
        return await count(self, question)

    monkeypatch.setattr(CountingService, "count", watched)
    headers = {"X-Amzn-SageMaker-Custom-Attributes": "trace=7; x", "X-Amzn-SageMaker-Inference-Id": "bin 7"}
    response = client.post("/invocations", content=bin_photo(1), headers=PNG | headers)
    assert response.headers["x-amzn-sagemaker-custom-attributes"] == "trace=7; x"
    assert (asked[0].custom_attributes, asked[0].inference_id, asked[0].door) == ("trace=7; x", "bin 7", "sagemaker")
    response = client.post("/invocations", content=bin_photo(1), headers=PNG)
    assert "x-amzn-sagemaker-custom-attributes" not in response.headers


@pytest.mark.parametrize(
    ("name", "value"),
    [("Custom-Attributes", "x" * 1025), ("Custom-Attributes", "caf\u00e9"), ("Inference-Id", "x" * 65)],
)
def test_what_aws_would_not_send_on_is_refused(client: TestClient, name: str, value: str) -> None:
    headers = {b"content-type": b"image/png", f"X-Amzn-SageMaker-{name}".encode(): value.encode("latin-1")}
    response = client.post("/invocations", content=bin_photo(1), headers=headers)
    check_error(response, 422, "invalid_request")


def test_an_answer_that_is_no_json_can_not_be_accepted(client: TestClient) -> None:
    check_error(client.post("/invocations", content=b"x", headers=PNG | {"accept": "text/csv"}), 406, "not_acceptable")


def test_a_model_is_loaded_listed_asked_and_unloaded(client: TestClient, models: Path) -> None:
    """The whole contract: https://docs.aws.amazon.com/sagemaker/latest/dg/mms-container-apis.html"""
    url = models / "0a1b" / "model"
    entry = {"modelName": "0a1b", "modelUrl": str(url)}
    assert client.get("/models").json() == {"models": []}
    check_error(client.get("/models/0a1b"), 404, "no_such_model")
    check_error(client.post("/models/0a1b/invoke", content=bin_photo(2), headers=PNG), 404, "no_such_model")
    assert (load(client, "0a1b", url).status_code, client.get("/models/0a1b").json()) == (200, entry)
    assert client.get("/models").json() == {"models": [entry]}
    check_error(load(client, "0a1b", url), 409, "model_loaded")
    target = {"X-Amzn-SageMaker-Target-Model": "narrow.tar.gz"}
    answer = client.post("/models/0a1b/invoke", content=bin_photo(5), headers=PNG | target).json()
    assert (answer["model"], answer["count"], list(answer["probabilities"])) == ("narrow", 3, ["0", "1", "2", "3+"])
    assert client.post("/invocations", content=bin_photo(5), headers=PNG).json()["model"] == "tiny"
    assert client.post("/models/0a1b/invoke?model=0a1b", content=bin_photo(5), headers=PNG).status_code == 200
    contradicting = client.post("/models/0a1b/invoke?model=tiny", content=bin_photo(5), headers=PNG)
    check_error(contradicting, 422, "invalid_request")
    assert client.delete("/models/0a1b").status_code == 200
    check_error(client.delete("/models/0a1b"), 404, "no_such_model")
    assert client.get("/models").json() == {"models": []}


def test_a_model_may_be_named_by_its_folder_alone(client: TestClient) -> None:
    assert load(client, "m", "2c3d/model").json() == {"modelName": "m", "modelUrl": "2c3d/model"}


def test_the_list_has_pages(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multi_model, "PAGE", 2)
    for name in ("c", "a", "b"):
        load(client, name, "0a1b/model")
    first = client.get("/models").json()
    assert [each["modelName"] for each in first["models"]] == ["a", "b"]
    second = client.get("/models", params={"next_page_token": first["nextPageToken"]}).json()
    assert [each["modelName"] for each in second["models"]] == ["c"]
    assert "nextPageToken" not in second


@pytest.mark.parametrize(
    ("url", "status", "code"),
    [
        ("/etc", 403, "models_not_allowed"),
        ("../..", 403, "models_not_allowed"),
        ("0a1b/../../../etc", 403, "models_not_allowed"),
        ("link", 403, "models_not_allowed"),
        ("s3://bucket/model", 404, "no_such_model"),
        ("a\0b", 403, "models_not_allowed"),
        ("x" * 5000, 404, "no_such_model"),
        ("gone", 404, "no_such_model"),
        ("empty", 422, "bad_model"),
        ("torn", 422, "bad_model"),
    ],
)
def test_only_models_of_the_operators_folder_are_loaded(client: TestClient, url: str, status: int, code: str) -> None:
    check_error(load(client, "m", url), status, code)
    assert client.get("/models").json() == {"models": []}


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a/b", "x" * 201, "default", "tiny"])
def test_a_name_that_could_not_be_asked_for_is_refused(client: TestClient, name: str) -> None:
    assert load(client, name, "0a1b/model").status_code in (409, 422)


@pytest.mark.parametrize("body", [b"", b"{", b'{"model_name":"a"}', b'{"model_name":"a","model_name":"b","url":"c"}'])
def test_a_request_that_names_no_model_is_refused(client: TestClient, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    check_error(client.post("/models", content=body, headers=headers), 422, "invalid_request")


def test_where_memory_is_short_the_model_is_not_loaded(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multi_model, "available_memory", lambda: 1000)
    error = check_error(load(client, "m", "0a1b/model"), 507, "no_memory")
    assert "MB" in error["message"]
    monkeypatch.setattr(multi_model, "available_memory", lambda: 0)  # the system does not tell
    assert load(client, "m", "0a1b/model").status_code == 200


def test_of_many_who_load_one_name_at_once_one_does(counter: Counter, models: Path, tmp_path: Path) -> None:
    async def race() -> list[object]:
        config = ServeConfig.of({"bundle": counter.bundle.folder, "threads": 1, "models": models, "state": tmp_path})
        service = service_of(counter, models=models, state=tmp_path)
        shelf = Shelf(House(service, config))
        try:
            wanted = LoadRequest("m", "0a1b/model")
            return list(await asyncio.gather(*(shelf.load(wanted) for _ in range(5)), return_exceptions=True))
        finally:
            await service.models.close()

    results = asyncio.run(race())
    assert sorted(getattr(each, "status", 200) for each in results) == [200, 409, 409, 409, 409]


def test_without_a_folder_of_models_none_is_loaded(counter: Counter, tmp_path: Path) -> None:
    with client_of(counter, state=tmp_path) as client:
        check_error(load(client, "m", counter.bundle.folder), 403, "models_not_allowed")


def test_models_by_name_do_not_go_with_several_workers(counter: Counter, models: Path, tmp_path: Path) -> None:
    settings = {"bundle": counter.bundle.folder, "threads": 1, "models": models, "workers": 2, "state": tmp_path}
    with pytest.raises((UsageError, ConfigError), match="workers"):
        create_app(service_of(counter, **settings), ServeConfig.of(settings))
