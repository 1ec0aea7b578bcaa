import io
import json
import struct
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bintally.errors import RequestError
from bintally.serving.answer import CountAnswer
from bintally.serving.http.inference import tensors
from bintally.serving.http.inference.messages import RequestInput, RequestOutput
from bintally.serving.http.inference.tensors import check_outputs, outputs_of, photos_of

MOST, MAX_PIXELS = 4, 10_000


def tensor(datatype: str, shape: tuple[int, ...], data: Any = None, size: int | None = None, **more: Any) -> Any:
    parameters = {} if size is None else {"binary_data_size": size}
    raw = {"name": "photos", "datatype": datatype, "shape": shape, "parameters": parameters, "data": data, **more}
    return msgspec.json.decode(msgspec.json.encode(raw), type=RequestInput)


def read(*inputs: RequestInput, binary: bytes = b"") -> list[bytes]:
    return photos_of(inputs, binary, most=MOST, max_pixels=MAX_PIXELS)


def elements(*contents: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(each)) + each for each in contents)


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=MOST))
def test_files_come_as_base64_nested_or_not_or_as_bytes(files: list[bytes]) -> None:
    n = len(files)
    assert read(tensor("BYTES", (n,), files)) == files
    assert read(tensor("BYTES", (n, 1), [[file] for file in files])) == files
    binary = elements(*files)
    assert read(tensor("BYTES", (n,), size=len(binary)), binary=binary) == files


@pytest.mark.parametrize("way", ["flat", "nested", "binary"])
def test_pixels_become_photos_that_keep_every_pixel(way: str) -> None:
    pixels_nhwc = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8)
    if way == "binary":
        [*photos] = read(tensor("UINT8", pixels_nhwc.shape, size=pixels_nhwc.nbytes), binary=pixels_nhwc.tobytes())
    else:
        data = pixels_nhwc.ravel().tolist() if way == "flat" else pixels_nhwc.tolist()
        [*photos] = read(tensor("UINT8", pixels_nhwc.shape, data))
    for photo, pixels_hwc in zip(photos, pixels_nhwc, strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(photo))), pixels_hwc)


@pytest.mark.parametrize(
    ("photos", "binary", "status"),
    [
        (tensor("BYTES", (1,), ["?"]), b"", 422),
        (tensor("BYTES", (1,), ["eA"]), b"", 422),
        (tensor("BYTES", (2,), ["eA=="]), b"", 422),
        (tensor("BYTES", (1,), "eA=="), b"", 422),
        (tensor("BYTES", (1,), [7]), b"", 422),
        (tensor("BYTES", (1, 1), ["eA=="]), b"", 422),
        (tensor("BYTES", (1, 2), [["eA==", "eA=="]]), b"", 422),
        (tensor("BYTES", (0,), []), b"", 422),
        (tensor("BYTES", (-1,), ["eA=="]), b"", 422),
        (tensor("BYTES", (5,), ["eA=="] * 5), b"", 413),
        (tensor("BYTES", (1,)), b"", 422),
        (tensor("BYTES", (1,), ["eA=="]), b"more", 422),
        (tensor("BYTES", (1,), ["eA=="], size=4), b"more", 422),
        (tensor("BYTES", (1,), size=5), b"more", 422),
        (tensor("BYTES", (1,), size=4), struct.pack("<I", 1), 422),
        (tensor("BYTES", (1,), size=4), struct.pack("<I", 2**32 - 1), 422),
        (tensor("BYTES", (2,), size=5), elements(b"x"), 422),
        (tensor("BYTES", (1,), size=10), elements(b"x", b"y"), 422),
        (tensor("BYTES", (1,), parameters={"binary_data_size": "4"}), b"more", 422),
        (tensor("UINT8", (1, 1, 1, 3), [0, 1]), b"", 422),
        (tensor("UINT8", (1, 1, 1, 3), [0, 1, 256]), b"", 422),
        (tensor("UINT8", (1, 1, 1, 3), [0, 1, -1]), b"", 422),
        (tensor("UINT8", (1, 1, 1, 3), [0, 1, 2.0]), b"", 422),
        (tensor("UINT8", (1, 1, 1, 3), [0, 1, True]), b"", 422),
        (tensor("UINT8", (1, 1, 1, 3), [0, [1, 2]]), b"", 422),
        (tensor("UINT8", (1, 1, 1, 3), {"a": 1}), b"", 422),
        (tensor("UINT8", (1, 0, 1, 3), []), b"", 422),
        (tensor("UINT8", (1, -1, -1, 3), [1, 2, 3]), b"", 422),
        (tensor("UINT8", (1, 1, 1, 4), [0, 1, 2, 3]), b"", 422),
        (tensor("UINT8", (1, 101, 100, 3), [0]), b"", 413),
        (tensor("UINT8", (1, 2**40, 2**40, 3), [0]), b"", 413),
        (tensor("UINT8", (1, 1, 3), [0, 1, 2]), b"", 422),
        (tensor("FP32", (1, 1, 1, 3), [0, 1, 2]), b"", 422),
        (tensor("BYTES", (), "eA=="), b"", 422),
        (tensor("BYTES", (1,), ["eA=="], name="images"), b"", 422),
    ],
)  # fmt: skip
def test_an_input_that_is_no_photos_is_refused(photos: RequestInput, binary: bytes, status: int) -> None:
    with pytest.raises(RequestError) as refusal:
        read(photos, binary=binary)
    assert refusal.value.status == status
    assert refusal.value.hint


def test_several_inputs_or_none_are_refused() -> None:
    for inputs in ((), (tensor("BYTES", (1,), ["eA=="]),) * 2):
        with pytest.raises(RequestError, match="inputs"):
            read(*inputs)


def test_pixels_that_would_take_far_more_memory_than_their_digits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "MOST_JSON_PIXELS", 10)
    with pytest.raises(RequestError, match="JSON") as refusal:
        read(tensor("UINT8", (1, 2, 2, 3), [0] * 12))
    assert refusal.value.status == 413


ANSWERS = [
    CountAnswer(count=1, expected_count=1.25, probabilities={"0": 0.0, "1": 0.75, "2": 0.25}),
    CountAnswer(count=2, expected_count=1.9, probabilities={"0": 0.05, "1": 0.0, "2": 0.95}, abstain="blank frame"),
]


def test_answers_become_tensors() -> None:
    told, binary = outputs_of(ANSWERS, (), is_binary=False)
    assert binary == b""
    by_name = {each.name: json.loads(msgspec.json.encode(each)) for each in told}
    assert by_name["probabilities"] == {
        "name": "probabilities",
        "shape": [2, 3],
        "datatype": "FP32",
        "parameters": {"count_keys": "0,1,2"},
        "data": [0.0, 0.75, 0.25, 0.05, 0.0, 0.95],
    }
    assert by_name["count"] == {"name": "count", "shape": [2], "datatype": "INT64", "data": [1, 2]}
    assert by_name["abstain"]["data"] == ["", "blank frame"]
    assert list(by_name) == ["probabilities", "count", "expected_count", "abstain", "verdict"]


def test_outputs_are_those_wanted_each_as_it_is_wanted() -> None:
    wanted = [RequestOutput("abstain"), RequestOutput("count", {"binary_data": False}), RequestOutput("probabilities")]
    told, binary = outputs_of(ANSWERS, wanted, is_binary=True)
    assert [each.name for each in told] == ["abstain", "count", "probabilities"]
    assert [each.parameters.get("binary_data_size") for each in told] == [19, None, 24]
    assert told[1].data == (1, 2)
    assert binary[:19] == elements(b"", b"blank frame")
    shares = np.frombuffer(binary[19:], "<f4")
    assert shares.tolist() == pytest.approx([0.0, 0.75, 0.25, 0.05, 0.0, 0.95])


def test_an_output_that_there_is_not_is_refused() -> None:
    check_outputs([RequestOutput("count")])
    with pytest.raises(RequestError, match="novelty"):
        check_outputs([RequestOutput("novelty")])
