"""The protocol's JSON objects.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from typing import Any, Final, TypeAlias

import msgspec

from bintally.bundle import Card

PHOTOS: Final = "photos"
PLATFORM: Final = "onnxruntime_onnx"
BINARY_EXTENSION: Final = "binary_tensor_data"
_VERSION_DIGITS: Final = 12

Parameters: TypeAlias = dict[str, bool | int | float | str | None]
"""What is said beside tensors: of the protocol's types, in which nothing can be nested."""


class TensorMetadata(msgspec.Struct, frozen=True):
    """A tensor's name, type and shape; -1: of any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class ServerMetadata(msgspec.Struct, frozen=True):
    """What the server is."""

    name: str
    version: str
    extensions: tuple[str, ...]


class ServerHealth(msgspec.Struct, frozen=True):
    """Whether the server answers, and whether it should get requests."""

    live: bool
    ready: bool


class ModelReady(msgspec.Struct, frozen=True):
    """Whether a model should get requests."""

    name: str
    ready: bool


class ModelMetadata(msgspec.Struct, frozen=True):
    """What a model takes and tells. `versions` are the first digits of the graph's SHA-256."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


class RequestInput(msgspec.Struct, frozen=True, gc=False):  # a million of them are read four times as fast
    """An input tensor: its contents in `data`, or behind the JSON (`binary_data_size`)."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    parameters: Parameters = {}
    data: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


class RequestOutput(msgspec.Struct, frozen=True, gc=False):
    """An output tensor that is wanted."""

    name: str
    parameters: Parameters = {}


class InferRequest(msgspec.Struct, frozen=True):
    """What is asked. `outputs`: those wanted; none named: all."""

    inputs: tuple[RequestInput, ...]
    id: str | None = None
    parameters: Parameters = {}
    outputs: tuple[RequestOutput, ...] = ()


class ResponseOutput(msgspec.Struct, frozen=True, omit_defaults=True):
    """An output tensor: its contents in `data`, or behind the JSON (`binary_data_size`)."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    parameters: dict[str, Any] = {}
    data: tuple[Any, ...] | None = None


class InferResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is answered."""

    model_name: str
    model_version: str
    outputs: tuple[ResponseOutput, ...]
    id: str | None = None


def version_of(card: Card) -> str:
    """A model's version: it changes with the graph."""
    return card.model_sha256[:_VERSION_DIGITS]


def metadata_of(card: Card, name: str) -> ModelMetadata:
    """What the model called `name` takes and tells."""
    outputs = (
        TensorMetadata("probabilities", "FP32", (-1, len(card.count_keys))),
        TensorMetadata("count", "INT64", (-1,)),
        TensorMetadata("expected_count", "FP32", (-1,)),
        TensorMetadata("abstain", "BYTES", (-1,)),
        TensorMetadata("verdict", "BYTES", (-1,)),
    )
    return ModelMetadata(name, (version_of(card),), PLATFORM, (TensorMetadata(PHOTOS, "BYTES", (-1,)),), outputs)
