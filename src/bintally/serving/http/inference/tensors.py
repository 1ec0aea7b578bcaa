"""Tensors of the protocol -> photos, and answers -> tensors.

Shapes: N photos, K the counts asked for, H x W a photo's own size.

Binary contents: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import io
import itertools
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bintally.errors import RequestError
from bintally.serving.answer import CountAnswer
from bintally.serving.http.body import check_number
from bintally.serving.http.inference.messages import PHOTOS, RequestInput, RequestOutput, ResponseOutput
from bintally.serving.refusals import invalid

_HINT: Final = f"Send one input {PHOTOS!r}: BYTES [N] (files; in JSON as base64) or UINT8 [N, H, W, 3] (RGB pixels)."
MOST_JSON_PIXELS: Final = 8 * 2**20
"""Bytes of `data` that are read as numbers: each takes several times its digits' room in memory."""

_LENGTH: Final = struct.Struct("<I")


def photos_of(inputs: Sequence[RequestInput], binary: bytes, *, most: int, max_pixels: int) -> list[bytes]:
    """The photos of a request as files; pixels become PNG. `binary` is what stands behind the JSON.

    Raises:
        RequestError: 413 too many or too large, 422 not such an input.
    """
    if len(inputs) != 1 or inputs[0].name != PHOTOS:
        raise invalid(f"There are inputs {[each.name[:40] for each in inputs[:8]]}.", hint=_HINT)
    [photos] = inputs
    shape = photos.shape
    contents = _binary_of(photos, binary)
    if photos.datatype == "BYTES" and len(shape) in (1, 2) and shape[1:] in ((), (1,)):
        check_number(shape[0], most)
        return _files(photos.data, shape) if contents is None else _split(contents, shape[0])
    if photos.datatype == "UINT8" and len(shape) == 4 and shape[3] == 3:
        check_number(shape[0], most)
        return _drawn(_pixels(_values(photos.data) if contents is None else contents, shape, max_pixels))
    raise invalid(f"The input is {photos.datatype[:20]} {list(shape[:8])}.", hint=_HINT)


def _binary_of(photos: RequestInput, binary: bytes) -> bytes | None:
    """The input's binary contents; None: it has `data`."""
    size, has_data = photos.parameters.get("binary_data_size"), bytes(photos.data) not in (b"", b"null")
    if (size is None) != has_data:
        raise invalid("An input has either `data` or `binary_data_size`.", hint=_HINT)
    if (size or 0) != len(binary):
        raise invalid(f"{len(binary)} bytes stand behind the JSON, and the input speaks of {size or 0}.", hint=_HINT)
    return None if size is None else binary


def _files(data: msgspec.Raw, shape: tuple[int, ...]) -> list[bytes]:
    try:
        if len(shape) == 1:
            files = msgspec.json.decode(data, type=list[bytes])
        else:
            files = [file for [file] in msgspec.json.decode(data, type=list[tuple[bytes]])]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(f"`data` is no {list(shape)} of photos in base64: {error}.", hint=_HINT) from None
    if len(files) != shape[0]:
        raise invalid(f"`data` has {len(files)} elements, not {shape[0]}.", hint=_HINT)
    return files


def _split(binary: bytes, number: int) -> list[bytes]:
    """Elements of BYTES: each has its length (uint32, little-endian) before it."""
    files: list[bytes] = []
    at = 0
    while at + _LENGTH.size <= len(binary) and len(files) < number:
        [size] = _LENGTH.unpack_from(binary, at)
        at += _LENGTH.size
        files.append(binary[at : at + size])
        at += size
    if at != len(binary) or len(files) != number:
        raise invalid(f"The {len(binary)} bytes are not {number} elements with their lengths before them.", hint=_HINT)
    return files


def _pixels(contents: bytes, shape: tuple[int, ...], max_pixels: int) -> NDArray[np.uint8]:
    """uint8 [N, H, W, 3]."""
    if min(shape) < 1:
        raise invalid(f"A photo can't be {shape[2]} x {shape[1]} pixels.", hint=_HINT)
    if shape[1] * shape[2] > max_pixels:
        raise RequestError(
            f"{shape[2]} x {shape[1]} pixels are too many.",
            status=413,
            code="photo_too_large",
            hint=f"{max_pixels / 1e6:g} million are most.",
        )
    if len(contents) != math.prod(shape):
        raise invalid(f"There are {len(contents)} values, not {' x '.join(map(str, shape))}.", hint=_HINT)
    return np.frombuffer(contents, np.uint8).reshape(shape)


def _values(data: msgspec.Raw) -> bytes:
    """Whole numbers from 0 to 255, in arrays nested as deep as the shape is or not at all."""
    if len(bytes(data)) > MOST_JSON_PIXELS:
        raise RequestError(
            "Pixels take too much room as JSON.",
            status=413,
            code="body_too_large",
            hint="Send them as binary contents (`binary_data_size`), or send the photo's file.",
        )
    try:
        values = msgspec.json.decode(data)
        while isinstance(values, list) and values and all(isinstance(each, list) for each in values):
            values = list(itertools.chain.from_iterable(values))
        if isinstance(values, list) and set(map(type, values)) <= {int}:
            return bytes(values)
    except (msgspec.DecodeError, ValueError, RecursionError):  # no JSON, one is not in 0 ... 255, nested far too deep
        pass
    raise invalid("UINT8 data are whole numbers from 0 to 255.", hint=_HINT)


def _drawn(pixels_nhwc: NDArray[np.uint8]) -> list[bytes]:
    """Each photo as PNG, which keeps every pixel: all that is done with a photo is done with a file's bytes."""
    files = []
    for pixels_hwc in pixels_nhwc:
        file = io.BytesIO()
        Image.fromarray(pixels_hwc).save(file, "PNG", compress_level=1)
        files.append(file.getvalue())
    return files


_TENSORS: Final[dict[str, tuple[str, Callable[[CountAnswer], Any]]]] = {
    "probabilities": ("FP32", lambda answer: list(answer.probabilities.values())),
    "count": ("INT64", lambda answer: answer.count),
    "expected_count": ("FP32", lambda answer: answer.expected_count),
    "abstain": ("BYTES", lambda answer: answer.abstain or ""),
    "verdict": ("BYTES", lambda answer: answer.verdict.outcome if answer.verdict else ""),
}
_NUMPY: Final[dict[str, np.dtype[Any]]] = {"FP32": np.dtype("<f4"), "INT64": np.dtype("<i8")}


def check_outputs(wanted: Sequence[RequestOutput]) -> None:
    """Only outputs that there are may be wanted.

    Raises:
        RequestError: 422.
    """
    for output in wanted:
        if output.name not in _TENSORS:
            raise invalid(f"There is no output {output.name[:40]!r}.", hint=f"There are {', '.join(_TENSORS)}.")


def outputs_of(
    answers: Sequence[CountAnswer], wanted: Sequence[RequestOutput], *, is_binary: bool
) -> tuple[tuple[ResponseOutput, ...], bytes]:
    """The outputs wanted (none named: all) and the binary contents of those that are wanted so."""
    told, binary = [], []
    for output in wanted or tuple(map(RequestOutput, _TENSORS)):
        tensor, contents = _output(output.name, answers)
        if output.parameters.get("binary_data", is_binary) is True:
            data = _binary(tensor.datatype, contents)
            parameters = {**tensor.parameters, "binary_data_size": len(data)}
            tensor = msgspec.structs.replace(tensor, parameters=parameters, data=None)
            binary.append(data)
        told.append(tensor)
    return tuple(told), b"".join(binary)


def _output(name: str, answers: Sequence[CountAnswer]) -> tuple[ResponseOutput, list[Any]]:
    datatype, read = _TENSORS[name]
    rows = [read(answer) for answer in answers]
    if name == "probabilities":
        contents = [share for row in rows for share in row]
        shape: tuple[int, ...] = (len(rows), len(rows[0]))
        parameters = {"count_keys": ",".join(answers[0].probabilities)}
    else:
        contents, shape, parameters = rows, (len(rows),), {}
    if datatype == "FP32":  # as JSON tells it elsewhere: digits that nobody can read are noise
        contents = [round(value, 4) for value in contents]
    return ResponseOutput(name, shape, datatype, parameters, tuple(contents)), contents


def _binary(datatype: str, contents: Sequence[Any]) -> bytes:
    if datatype == "BYTES":
        encoded = [text.encode() for text in contents]
        return b"".join(_LENGTH.pack(len(text)) + text for text in encoded)
    return np.array(contents, _NUMPY[datatype]).tobytes()
