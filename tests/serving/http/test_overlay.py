import asyncio
import base64
import io
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from bintally.counting.counter import Counter
from bintally.serving.http import overlay as endpoint
from tests.bundles import bin_photo
from tests.serving.http.test_app import check_error
from tests.serving.services import client_of

PNG = {"content-type": "image/png"}


@pytest.fixture(scope="module")
def client(counter: Counter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client_of(counter, state=tmp_path_factory.mktemp("state"), max_megapixels=1) as client:
        yield client


def test_the_overlay_is_a_picture_of_the_photos_shape(client: TestClient) -> None:
    response = client.post("/v1/overlay", content=bin_photo(3, width_px=160, height_px=90), headers=PNG)
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(response.content)).size == (160, 90)


def test_the_figures_are_to_be_had_as_json(client: TestClient) -> None:
    body = {"image": base64.b64encode(bin_photo(5)).decode(), "counts": "1-3"}
    response = client.post("/v1/overlay", json=body, headers={"accept": "application/json"})
    told = response.json()
    assert (told["key"], told["model"]) == ("3", "tiny")
    assert [len(row) for row in told["drops"]] == [8] * 8


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"content": b"no photo", "headers": PNG}, 400, "bad_photo"),
        ({"content": bin_photo(1, width_px=1200, height_px=1000), "headers": PNG}, 400, "bad_photo"),
        ({"content": bin_photo(1), "headers": PNG, "params": {"counts": "9"}}, 422, "invalid_request"),
        ({"content": bin_photo(1), "headers": PNG, "params": {"model": "giant"}}, 404, "no_such_model"),
        ({"content": bin_photo(1), "headers": PNG | {"accept": "text/html"}}, 406, "not_acceptable"),
        ({"json": {"url": "http://camera/1.jpg"}}, 403, "url_not_allowed"),
    ],
    ids=["no photo", "too many pixels", "no such count", "no such model", "no such kind", "by URL"],
)
def test_an_overlay_that_can_not_be_made_is_refused(
    client: TestClient, request_: dict[str, Any], status: int, code: str
) -> None:
    check_error(client.post("/v1/overlay", **request_), status, code)


def test_only_a_few_may_wait_and_they_keep_nobody_from_counting(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = threading.Event()
    made = endpoint._made

    def held(*arguments: Any) -> Any:
        may_end.wait(20)
        return made(*arguments)

    monkeypatch.setattr(endpoint, "_made", held)
    answers: list[int] = []

    def ask() -> None:
        answers.append(client.post("/v1/overlay", content=bin_photo(1), headers=PNG).status_code)

    asking = [threading.Thread(target=ask) for _ in range(endpoint.MOST_WAITING + 1)]
    for thread in asking:
        thread.start()
    try:
        while not answers:  # the one that is too many
            asyncio.run(asyncio.sleep(0.01))
        assert answers == [503]
        assert client.post("/v1/counts", content=bin_photo(1), headers=PNG).status_code == 200
    finally:
        may_end.set()
        for thread in asking:
            thread.join()
    assert sorted(answers) == [200] * endpoint.MOST_WAITING + [503]
