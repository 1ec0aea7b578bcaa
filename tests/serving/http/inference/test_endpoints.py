"""The protocol as its clients see it, against golden files: requests and answers, word for word."""

import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from bintally import __version__
from bintally.counting.counter import Counter
from bintally.serving.http.inference.messages import version_of
from tests.bundles import bin_photo, bin_pixels
from tests.serving.services import client_of

GOLDEN = Path(__file__).parent / "golden"
INFER = "/v2/models/tiny/infer"


@pytest.fixture(scope="module")
def client(counter: Counter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client_of(counter, state=tmp_path_factory.mktemp("state"), max_photos=4, max_photo_mb=1) as client:
        yield client


def filled(value: Any, words: dict[str, str]) -> Any:
    """`value` with `${word}` in its strings replaced."""
    text = json.dumps(value)
    for word, meaning in words.items():
        text = text.replace(f"${{{word}}}", meaning)
    return json.loads(text)


@pytest.mark.parametrize("case", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_what_is_asked_and_answered_is_what_the_golden_file_says(
    client: TestClient, counter: Counter, case: Path
) -> None:
    photos = {f"photo {count}": base64.b64encode(bin_photo(count)).decode() for count in range(7)}
    words = {"version": __version__, "model version": version_of(counter.card), **photos}
    golden = filled(json.loads(case.read_text()), words)
    response = client.request(golden["method"], golden["path"], json=golden.get("body"))
    assert (response.status_code, response.json()) == (golden["status"], golden["answer"])
    assert response.headers["content-type"] == "application/json"


def element(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content


def infer_binary(client: TestClient, asked: dict[str, Any], binary: bytes, **headers: str) -> Any:
    head = json.dumps(asked).encode()
    told = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head)), **headers}
    return client.post(INFER, content=head + binary, headers=told)


def test_contents_may_be_binary_both_ways(client: TestClient) -> None:
    binary = element(bin_photo(1)) + element(bin_photo(4))
    parameters = {"binary_data_size": len(binary)}
    asked = {
        "inputs": [{"name": "photos", "shape": [2], "datatype": "BYTES", "parameters": parameters}],
        "outputs": [{"name": "count"}, {"name": "probabilities", "parameters": {"binary_data": False}}],
        "parameters": {"binary_data_output": True},
    }
    response = infer_binary(client, asked, binary)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/octet-stream"
    length = int(response.headers["inference-header-content-length"])
    told = json.loads(response.content[:length])
    assert told["outputs"][0] == {
        "name": "count",
        "shape": [2],
        "datatype": "INT64",
        "parameters": {"binary_data_size": 16},
    }
    assert len(told["outputs"][1]["data"]) == 14
    assert np.frombuffer(response.content[length:], "<i8").tolist() == [1, 4]


def test_a_client_that_says_no_content_type_is_understood(client: TestClient) -> None:
    """Triton's own client (tritonclient 2.73) sends none, neither with JSON nor with binary contents."""
    binary = element(bin_photo(2))
    parameters = {"binary_data_size": len(binary)}
    asked = {"inputs": [{"name": "photos", "shape": [1], "datatype": "BYTES", "parameters": parameters}]}
    assert infer_binary(client, asked, binary, **{"content-type": ""}).json()["outputs"][1]["data"] == [2]
    data = [base64.b64encode(bin_photo(3)).decode()]
    asked = {"inputs": [{"name": "photos", "shape": [1], "datatype": "BYTES", "data": data}]}
    response = client.post(INFER, content=json.dumps(asked), headers={"content-type": ""})
    assert response.json()["outputs"][1]["data"] == [3]


def test_binary_pixels_are_counted_as_the_photo_is(client: TestClient, counter: Counter) -> None:
    pixels_hwc = bin_pixels(3)
    parameters = {"binary_data_size": pixels_hwc.nbytes}
    shape = [1, *pixels_hwc.shape]
    asked = {"inputs": [{"name": "photos", "shape": shape, "datatype": "UINT8", "parameters": parameters}]}
    outputs = infer_binary(client, asked, pixels_hwc.tobytes()).json()["outputs"]
    direct = counter.count(pixels_hwc)
    assert outputs[0]["data"] == pytest.approx(list(direct.probabilities.values()), abs=1e-4)


def json_infer(client: TestClient, *photos: bytes, **more: Any) -> Any:
    data = [base64.b64encode(photo).decode() for photo in photos]
    asked = {"inputs": [{"name": "photos", "shape": [len(data)], "datatype": "BYTES", "data": data}], **more}
    return client.post(INFER, json=asked)


def check_error(response: Any, status: int, says: str) -> None:
    """The protocol's own shape of errors, not ours."""
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    assert says in response.json()["error"]


def test_an_error_has_the_protocols_shape_and_says_which_photo(client: TestClient) -> None:
    check_error(json_infer(client, bin_photo(1), b"no photo"), 400, "Photo 1: This is not a JPEG")
    check_error(json_infer(client, *[bin_photo(1)] * 5), 413, "5 photos")
    check_error(json_infer(client, bin_photo(1), outputs=[{"name": "novelty"}]), 422, "novelty")
    check_error(json_infer(client, bin_photo(1), parameters={"bin": "A"}), 422, "'bin'")
    check_error(json_infer(client, bin_photo(1), parameters={"counts": "1-9"}), 422, "1-9")
    check_error(client.post(INFER, content=b"{", headers={"content-type": "application/json"}), 422, "JSON")
    check_error(client.post(INFER, content=b"x", headers={"content-type": "image/png"}), 415, "content type")
    check_error(client.post("/v2/models/giant/infer", json={}), 404, "giant")
    check_error(client.get("/v2/nothing"), 404, "/v2/nothing")
    check_error(client.get(INFER), 405, "GET")


@pytest.mark.parametrize("length", ["", "-1", "999999", "x", "1_0"])
def test_a_length_of_the_json_that_can_not_be_is_refused(client: TestClient, length: str) -> None:
    check_error(infer_binary(client, {}, b"", **{"inference-header-content-length": length}), 422, "Length")


def test_binary_without_the_length_of_its_json_is_refused(client: TestClient) -> None:
    response = client.post(INFER, content=b"{}", headers={"content-type": "application/octet-stream"})
    check_error(response, 422, "missing")


def test_a_record_is_judged(client: TestClient) -> None:
    outputs = json_infer(client, bin_photo(3), parameters={"recorded_count": 3}).json()["outputs"]
    assert outputs[4]["name"] == "verdict"
    assert outputs[4]["data"][0] in ("match", "mismatch", "uncertain")
