import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from bintally.counting.counter import Counter
from bintally.serving.answer import CountAnswer
from bintally.serving.http import batch
from bintally.serving.service import CountingService
from tests.bundles import bin_photo
from tests.serving.http.test_app import check_error
from tests.serving.services import client_of

LIMIT, MOST = 2**20, 6
PNG = {"content-type": "image/png"}


@pytest.fixture(scope="module")
def client(counter: Counter, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    state = tmp_path_factory.mktemp("state")
    with client_of(counter, samples=samples, state=state, max_photo_mb=1, max_photos=MOST) as client:
        yield client


def base64_of(photo: bytes) -> str:
    return base64.b64encode(photo).decode()


def files(*photos: bytes) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [("photo", ("bin.png", photo, "image/png")) for photo in photos]


def counts_of(response: Any) -> list[int | str]:
    """Counts and error codes of a batch's answers."""
    assert response.status_code == 200, response.text
    assert list(response.json()) == ["answers"]
    items = response.json()["answers"]
    assert all(len(item) == 1 for item in items)
    return [item["answer"]["count"] if "answer" in item else item["error"]["code"] for item in items]


@pytest.mark.parametrize("way", ["raw", "form", "json"])
def test_a_photo_is_counted_however_it_is_sent(client: TestClient, way: str) -> None:
    photo, about = bin_photo(4), {"counts": "1-5", "bin_image_id": "00004"}
    response = {
        "raw": lambda: client.post("/v1/counts", params=about, content=photo, headers=PNG),
        "form": lambda: client.post("/v1/counts", data=about, files=files(photo)),
        "json": lambda: client.post("/v1/counts", json={"image": base64_of(photo), **about}),
    }[way]()
    assert response.status_code == 200, response.text
    answer = response.json()
    assert (answer["count"], answer["bin_image_id"], list(answer["probabilities"])) == (4, "00004", list("12345"))
    assert response.headers["x-request-id"] == answer["request_id"]


def test_a_batch_is_answered_in_order_and_one_bad_photo_spoils_no_other(client: TestClient) -> None:
    sent = [bin_photo(1), b"no photo", bin_photo(3), b"", bin_photo(5)]
    expected = [1, "bad_photo", 3, "bad_photo", 5]
    assert counts_of(client.post("/v1/counts", files=files(*sent))) == expected
    photos: list[Any] = [{"image": base64_of(photo)} for photo in sent]
    assert counts_of(client.post("/v1/counts", json={"photos": photos})) == expected
    photos[2] = {"image": photos[2]["image"], "counts": "1-9"}
    photos[4] = {"imgae": "?"}
    wrong = [1, "bad_photo", "invalid_request", "bad_photo", "invalid_request"]
    assert counts_of(client.post("/v1/counts", json={"photos": photos})) == wrong


def test_the_photos_of_a_form_may_each_have_fields_of_their_own(client: TestClient) -> None:
    about = {"bin_image_id": ["a", "b"], "counts": "1-3"}
    response = client.post("/v1/counts", files=files(bin_photo(2), bin_photo(3)), data=about)
    answers = [item["answer"] for item in response.json()["answers"]]
    assert [answer["bin_image_id"] for answer in answers] == ["a", "b"]
    assert [list(answer["probabilities"]) for answer in answers] == [["1", "2", "3"]] * 2


def test_a_batch_of_one_in_json_is_a_batch(client: TestClient) -> None:
    assert counts_of(client.post("/v1/counts", json={"photos": [{"image": base64_of(bin_photo(2))}]})) == [2]


def test_a_batch_may_not_be_larger_than_allowed(client: TestClient) -> None:
    photo = bin_photo(1)
    assert counts_of(client.post("/v1/counts", files=files(*[photo] * MOST))) == [1] * MOST
    check_error(client.post("/v1/counts", files=files(*[photo] * (MOST + 1))), 413, "too_many_photos")
    photos = [{"image": base64_of(photo)}] * (MOST + 1)
    check_error(client.post("/v1/counts", json={"photos": photos}), 413, "too_many_photos")


def test_a_photo_of_a_batch_that_is_too_large_spoils_no_other(client: TestClient) -> None:
    large = b"\xff\xd8\xff" + bytes(LIMIT)
    assert counts_of(client.post("/v1/counts", files=files(large, bin_photo(2)))) == ["photo_too_large", 2]
    check_error(client.post("/v1/counts", content=large + bytes(5000), headers=PNG), 413, "photo_too_large")
    check_error(client.post("/v1/counts", content=large, headers=PNG), 413, "photo_too_large")


def test_a_bug_on_one_photo_spoils_no_other(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    count = CountingService.count

    async def buggy(self: CountingService, asked: Any) -> CountAnswer:
        if asked.bin_image_id == "bug":
            raise ZeroDivisionError("a bug")
        return await count(self, asked)

    monkeypatch.setattr(CountingService, "count", buggy)
    photos = [{"image": base64_of(bin_photo(2)), "bin_image_id": name} for name in ("a", "bug", "c")]
    assert counts_of(client.post("/v1/counts", json={"photos": photos})) == [2, "internal", 2]


def test_the_same_key_is_answered_once_and_each_photo_of_a_batch_has_a_key_of_its_own(client: TestClient) -> None:
    key = {"idempotency-key": "k-1"}
    first = client.post("/v1/counts", content=bin_photo(2), headers=PNG | key)
    again = client.post("/v1/counts", content=bin_photo(2), headers=PNG | key | {"x-request-id": "again"})
    assert again.text == first.text
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["x-request-id"] == "again", "the log has this one"
    check_error(client.post("/v1/counts", content=bin_photo(3), headers=PNG | key), 422, "idempotency_key_reused")
    key = {"idempotency-key": "k-2"}
    both = files(bin_photo(1), bin_photo(1, seed=1))
    assert (
        client.post("/v1/counts", files=both, headers=key).json()
        == client.post("/v1/counts", files=both, headers=key).json()
    )


def test_a_batchs_key_is_the_same_in_quotes_and_without(client: TestClient) -> None:
    both = files(bin_photo(1), bin_photo(4))
    first, again = (client.post("/v1/counts", files=both, headers={"idempotency-key": key}) for key in ('"k-3"', "k-3"))
    assert again.json() == first.json()


@pytest.mark.parametrize("key", ['""', "x" * 254, "\t"])
def test_a_key_that_a_batch_can_not_have_is_refused_once(client: TestClient, key: str) -> None:
    both = files(bin_photo(1), bin_photo(4))
    response = client.post("/v1/counts", files=both, headers={"idempotency-key": key})
    check_error(response, 400, "invalid_idempotency_key")


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html, */*;q=0.1"])
def test_an_answer_is_json_for_whoever_takes_json(client: TestClient, accept: str) -> None:
    assert client.post("/v1/counts", content=bin_photo(1), headers=PNG | {"accept": accept}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"accept": "image/png"}, 406, "not_acceptable"),
        ({"content-encoding": "gzip"}, 415, "unsupported_content_encoding"),
        ({"content-type": "text/plain"}, 415, "unsupported_content_type"),
        ({"content-type": ""}, 415, "unsupported_content_type"),
        ({"content-type": "multipart/form-data"}, 422, "invalid_request"),
        ({"request-timeout": "never"}, 422, "invalid_request"),
    ],
)
def test_a_header_that_can_not_be_met_is_refused(
    client: TestClient, headers: dict[str, str], status: int, code: str
) -> None:
    check_error(client.post("/v1/counts", content=bin_photo(1), headers=PNG | headers), status, code)


def test_an_answer_that_comes_too_late_is_not_worked_on(client: TestClient) -> None:
    response = client.post("/v1/counts", content=bin_photo(1), headers=PNG | {"request-timeout": "0.000001"})
    assert response.status_code in (408, 504)  # by whether it passed while the body was read


@pytest.mark.parametrize(
    ("query", "says"),
    [("bin=A", "'bin'"), ("counts=1-9", "1-9"), ("recorded_count=-1", "-1"), ("counts=1&counts=2", "more than once")],
)
def test_a_query_that_is_wrong_is_refused(client: TestClient, query: str, says: str) -> None:
    error = check_error(client.post(f"/v1/counts?{query}", content=bin_photo(1), headers=PNG), 422, "invalid_request")
    assert says in error["message"]


def test_beside_a_form_or_json_nothing_is_said_in_the_query(client: TestClient) -> None:
    check_error(client.post("/v1/counts?counts=1-5", files=files(bin_photo(1))), 422, "invalid_request")
    check_error(client.post("/v1/counts?counts=1-5", json={"image": base64_of(b"x")}), 422, "invalid_request")


def test_a_record_is_judged(client: TestClient) -> None:
    answer = client.post("/v1/counts?recorded_count=3", content=bin_photo(3), headers=PNG).json()
    assert answer["verdict"]["recorded_count"] == 3
    assert answer["verdict"]["outcome"] in ("match", "mismatch", "uncertain")
    assert "verdict" not in client.post("/v1/counts", content=bin_photo(3), headers=PNG).json()


def test_a_model_is_asked_by_its_name(client: TestClient) -> None:
    for name in ("default", "tiny"):
        assert client.post(f"/v1/counts?model={name}", content=bin_photo(3), headers=PNG).json()["model"] == "tiny"
    check_error(client.post("/v1/counts?model=giant", content=bin_photo(3), headers=PNG), 404, "no_such_model")


@pytest.mark.parametrize(
    ("given", "is_kept"), [("robot-7.42", True), ("a" * 64, True), ("a" * 65, False), ("a b", False)]
)
def test_a_sane_request_id_is_kept_and_another_replaced(client: TestClient, given: str, is_kept: bool) -> None:
    response = client.post("/v1/counts", content=bin_photo(3), headers=PNG | {"x-request-id": given})
    assert response.headers.get_list("x-request-id") == [response.json()["request_id"]]
    assert (response.json()["request_id"] == given) is is_kept


def test_a_large_batch_never_has_many_photos_under_way(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "AT_ONCE", 2)
    count, under_way, most = CountingService.count, 0, 0

    async def watched(self: CountingService, asked: Any) -> CountAnswer:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await count(self, asked)
        finally:
            under_way -= 1

    monkeypatch.setattr(CountingService, "count", watched)
    assert counts_of(client.post("/v1/counts", files=files(*[bin_photo(1)] * MOST))) == [1] * MOST
    assert most == 2


def test_an_answer_is_the_json_of_a_count_answer(client: TestClient) -> None:
    text = client.post("/v1/counts", content=bin_photo(4), headers=PNG).text
    assert json.loads(CountAnswer.from_json(text).to_json()) == json.loads(text)
