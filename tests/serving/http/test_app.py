import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from bintally.counting.counter import Counter
from bintally.records import CountEstimate
from bintally.serving.answer import CountAnswer
from tests.bundles import bin_photo
from tests.conftest import shared_dir
from tests.serving.services import client_of

LIMIT = 2**20
JPEG = {"content-type": "image/jpeg"}


@pytest.fixture(scope="module")
def client(counter: Counter, samples: Path) -> Iterator[TestClient]:
    with client_of(
        counter, samples=samples, allow_url=["127.0.0.1:*"], allow_private_url=True, max_photo_mb=1
    ) as client:
        yield client


def post_json(client: TestClient, **body: Any) -> Any:
    if isinstance(body.get("image"), bytes):
        body["image"] = base64.b64encode(body["image"]).decode()
    return client.post("/invocations", json=body)


def check_error(response: Any, status: int, code: str) -> dict[str, str]:
    """The one shape of every error."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ["error"]
    assert set(body["error"]) == {"code", "message", "hint"}
    assert body["error"]["code"] == code
    assert all(body["error"].values()), "the hint is the next step"
    return dict(body["error"])


def test_ping_says_that_the_model_is_loaded(client: TestClient) -> None:
    response = client.get("/ping")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "model": "tiny"}


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("count", [0, 3, 6])
def test_a_raw_photo_is_counted(client: TestClient, image_format: str, count: int) -> None:
    photo = bin_photo(count, image_format=image_format)
    response = client.post("/invocations", content=photo, headers={"content-type": f"image/{image_format}"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json()["count"] == count


def test_the_answer_is_the_one_json_of_a_count(client: TestClient, counter: Counter) -> None:
    photo = bin_photo(4)
    text = client.post("/invocations", content=photo, headers={"content-type": "image/png"}).text
    answer, estimate = CountAnswer.from_json(text), CountEstimate.from_json(text)
    assert answer.to_json() == text
    direct = counter.count(photo)
    assert (estimate.count, estimate.count_set, estimate.model) == (direct.count, direct.count_set, direct.model)
    assert estimate.probabilities == pytest.approx(direct.probabilities, abs=1e-4)


def test_json_names_the_bin_and_restricts_the_counts(client: TestClient) -> None:
    answer = post_json(client, image=bin_photo(5), counts="1-3", bin_image_id="00005").json()
    assert answer["bin_image_id"] == "00005"
    assert answer["count"] == 3
    assert list(answer["probabilities"]) == ["1", "2", "3"]
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert post_json(client, image=bin_photo(5)).json()["count"] == 5, "one request's counts change no other's"


def test_a_photo_that_is_no_bin_is_answered_with_the_reason(client: TestClient) -> None:
    answer = post_json(client, image=bin_photo(-1.3)).json()
    assert answer["abstain"] == "black frame"


@pytest.mark.parametrize(
    "photo", [b"", b"hello", bin_photo(3, image_format="JPEG")[:700], bin_photo(3, image_format="GIF")]
)
def test_what_can_not_be_read_as_a_photo_is_a_bad_photo(client: TestClient, photo: bytes) -> None:
    check_error(client.post("/invocations", content=photo, headers=JPEG), 400, "bad_photo")


def test_a_photo_that_is_too_large_is_refused_however_it_comes(client: TestClient) -> None:
    large = bin_photo(3, image_format="PNG", width_px=1600, height_px=1200)
    assert len(large) > LIMIT
    check_error(client.post("/invocations", content=large, headers=JPEG), 413, "photo_too_large")
    check_error(client.post("/invocations", content=iter([large]), headers=JPEG), 413, "photo_too_large")
    check_error(post_json(client, image=large), 413, "photo_too_large")
    just_above = b"\xff\xd8\xff" + bytes(LIMIT)
    check_error(post_json(client, image=just_above), 413, "photo_too_large")


def test_a_content_type_that_is_not_taken(client: TestClient) -> None:
    error = check_error(client.post("/invocations", data={"file": "x"}), 415, "unsupported_content_type")
    assert "image/jpeg" in error["hint"]


@pytest.mark.parametrize("body", [{}, {"image": 3}, {"photo": "eA=="}, {"image": "eA==", "counts": "1-9"}])
def test_json_that_is_wrong(client: TestClient, body: dict[str, Any]) -> None:
    if "counts" in body:
        body = {**body, "image": bin_photo(1)}
    check_error(post_json(client, **body), 422, "invalid_request")


class Camera(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(bin_photo(2))

    def log_message(self, *_: object) -> None: ...


def test_a_photo_by_url_only_from_the_host_that_was_named(client: TestClient) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    threading.Thread(target=server.serve_forever).start()
    try:
        port = server.server_address[1]
        answer = post_json(client, url=f"http://127.0.0.1:{port}/2.png").json()
        assert answer["count"] == 2
        assert answer["path"] == f"http://127.0.0.1:{port}/2.png"
        check_error(post_json(client, url=f"http://localhost:{port}/2.png"), 403, "url_not_allowed")
    finally:
        server.shutdown()
        server.server_close()


def test_samples_are_listed_and_served(client: TestClient, samples: Path) -> None:
    listed = client.get("/samples").json()
    assert listed[0] == {"name": "00001.jpg", "recorded_count": 1}
    response = client.get(f"/samples/{listed[0]['name']}")
    assert response.headers["content-type"] == "image/jpeg"
    assert response.content == (samples / "bin-images" / "00001.jpg").read_bytes()
    check_error(client.get("/samples/labels.csv"), 404, "not_found")


def test_the_model_tells_its_licence_and_figures(client: TestClient, counter: Counter) -> None:
    model = client.get("/model").json()
    assert model["licence"] == counter.card.licence
    assert model["counts"] == list(counter.card.count_keys)
    assert model["metrics"]["test"]["figures"]["accuracy"] == {"value": 0.9, "low": 0.85, "high": 0.95}


def test_unknown_paths_and_methods_have_the_same_error_shape(client: TestClient) -> None:
    check_error(client.get("/nowhere"), 404, "not_found")
    response = client.get("/invocations")
    check_error(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


def test_the_page_may_load_nothing_from_elsewhere(client: TestClient) -> None:
    response = client.get("/")
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "CC0-1.0: free for every use" in response.text


def test_the_api_is_shown_to_people_with_nothing_loaded_from_elsewhere(client: TestClient) -> None:
    response = client.get("/docs")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    for said in ("/v1/counts", "Open Inference Protocol", "Idempotency-Key", "CountAnswer"):
        assert said in response.text
    assert "http://" not in response.text.replace("http://www.w3.org/2000/svg", "").replace("http://camera", "")


def test_real_bin_photos_are_taken_as_published(client: TestClient) -> None:
    photos = sorted(shared_dir("abid/native").glob("*.jpg"))[:5]
    small = [photo for photo in photos if photo.stat().st_size <= LIMIT]
    assert small
    for photo in small:
        response = client.post("/invocations", content=photo.read_bytes(), headers=JPEG)
        assert response.status_code == 200
        assert response.json()["error"] is None
