"""The ONNX file of a bundle: half or a quarter of the bytes, float32 arithmetic, weights that training can go on from.

Large weights are stored as float16, or as int8 with a scale per output channel, and widened when the file is loaded:
ONNX Runtime folds casts and products away, so the answers are float32 arithmetic on weights rounded once.
Initializers keep the names they have in torch.
"""

import gzip
import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxscript import optimizer
from torch import Tensor

from bintally.bundle import COMPRESSED
from bintally.errors import BackboneError
from bintally.training.servable import Servable, ServableBeside, ServableChange

BACKBONE: Final = "network.backbone."
_LEARNT: Final = re.compile(r"(^|\.)(backbone|change)\.")  # initializers that are a network's weights
_LARGE: Final = 64  # elements; what is smaller is nothing of the file
_NEARLY: Final = 1e-3  # relative: a vector that float16 would change by more stays exact
_HALF, _INT8, _SCALE, _WIDE = "/half", "/int8", "/scale", "/wide"

COMPUTE: Final = "bintally.compute"
"""Property of a model whose arithmetic is INT8 (`training.quantize`): it holds no weights to go on from."""

Store: TypeAlias = Literal["float16", "int8"]


def onnx_graph(servable: Servable | ServableBeside, photos: Tensor, *, fold_norms: bool = False) -> onnx.ModelProto:
    """The graph of `servable`, batch size free, traced with `photos` uint8 [N, H, W, 3].

    `fold_norms` merges norms into the convolutions before them: INT8 needs it, but the weights can't be taken back.
    """
    return _graph(servable, {"photos": photos}, servable.outputs, optimize=fold_norms)


def change_graph(change: ServableChange, maps: Tensor) -> onnx.ModelProto:
    """The graph of what compares photos, traced with `maps` [P, V, C, h, w], P free."""
    return _graph(change, {"earlier": maps, "later": maps.clone()}, ("evidence",), optimize=False)


def _graph(
    module: torch.nn.Module, inputs: dict[str, Tensor], outputs: Sequence[str], *, optimize: bool
) -> onnx.ModelProto:
    batch = torch.export.Dim("batch", min=1, max=65536)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*The axis name")  # two inputs share it, as they should
        program: Any = torch.onnx.export(
            module,
            tuple(inputs.values()),
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes={name: {0: batch} for name in inputs},
            optimize=optimize,
            verbose=False,
        )
    _simplify(program.model)
    model: onnx.ModelProto = program.model_proto
    return model


def onnx_bytes(model: onnx.ModelProto, *, store: Store = "float16") -> bytes:
    """`model` as a file with its large weights stored as `store`; changes `model`."""
    widened = [node for tensor in list(model.graph.initializer) for node in _stored(model.graph, tensor, store)]
    for place, node in enumerate(widened):
        model.graph.node.insert(place, node)
    model.graph.ClearField("value_info")  # shapes that ONNX Runtime infers anyway: a third of a megabyte
    buffer = io.BytesIO()
    onnx.save_model(model, buffer)
    return buffer.getvalue()


def backbone_weights(path: Path) -> dict[str, Tensor]:
    """The backbone's weights of an exported model, under the names they have in torch.

    Raises:
        BackboneError: not an ONNX file, or not one of ours.
    """
    try:
        data = path.read_bytes()
        model = onnx.load_model_from_string(gzip.decompress(data) if path.suffix == COMPRESSED else data)
    except Exception as error:  # protobuf raises DecodeError from a module that differs by its implementation
        raise BackboneError(f"{path} is no ONNX file: {error}.", hint="Export the bundle again.") from error
    if any(prop.key == COMPUTE for prop in model.metadata_props):
        raise BackboneError(
            f"Training can't go on from {path}: it computes in INT8, its norms are merged into rounded weights.",
            hint="Start from the run it was exported from, or from a bundle with export.compute = 'float32'.",
        )
    stored = {tensor.name: tensor for tensor in model.graph.initializer if tensor.name.startswith(BACKBONE)}
    weights = {_torch_name(name): _weight(name, stored) for name in stored if not name.endswith(_SCALE)}
    if not weights:
        raise BackboneError(
            f"{path} was not exported by bintally: it names no backbone weights.", hint="Start from a run."
        )
    return weights


def _torch_name(name: str) -> str:
    return name.removeprefix(BACKBONE).removesuffix(_HALF).removesuffix(_INT8)


def _weight(name: str, stored: dict[str, onnx.TensorProto]) -> Tensor:
    """A stored weight as torch had it, but for its rounding."""
    values = numpy_helper.to_array(stored[name])
    if name.endswith(_INT8):
        values = values * numpy_helper.to_array(stored[name.removesuffix(_INT8) + _SCALE])
    value = torch.from_numpy(values.copy())
    return value.float() if value.is_floating_point() else value


def _simplify(graph: Any) -> None:
    """Folds what is constant and drops the exporter's notes (stack traces): they cost megabytes and loading time."""
    optimizer.inline(graph)
    optimizer.fold_constants(graph)
    optimizer.remove_unused_nodes(graph)
    for node in graph.graph:
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()


def _stored(graph: onnx.GraphProto, tensor: onnx.TensorProto, store: Store) -> list[onnx.NodeProto]:
    """Puts a smaller initializer in the place of a large float32 one; the nodes that widen it at load time."""
    if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < _LARGE:
        return []
    values, name = numpy_helper.to_array(tensor), tensor.name
    # What tells a bin from a face stays float16: its basis must stay orthonormal (servable.Familiar).
    if store == "int8" and _LEARNT.search(name) and values.ndim > 1:
        rounded, scale = rounded_to_int8(values)
        smaller = [numpy_helper.from_array(rounded, name + _INT8), numpy_helper.from_array(scale, name + _SCALE)]
        # Not DequantizeLinear: ONNX Runtime never folds it (it waits for a quantized product), computes it for every
        # photo and leaves the norms unmerged: 1.3x the time a photo (DenseNet-169).
        nodes = [
            helper.make_node("Cast", [name + _INT8], [name + _WIDE], to=TensorProto.FLOAT),
            helper.make_node("Mul", [name + _WIDE, name + _SCALE], [name]),
        ]
    elif _fits_half(name, values):
        smaller = [numpy_helper.from_array(values.astype(np.float16), name + _HALF)]
        nodes = [helper.make_node("Cast", [name + _HALF], [name], to=TensorProto.FLOAT)]
    else:
        return []
    graph.initializer.remove(tensor)
    graph.initializer.extend(smaller)
    return nodes


def _fits_half(name: str, values: NDArray[np.float32]) -> bool:
    """Whether float16 holds them: matrices within its range, norms' vectors (a variance may be tiny) nearly exactly."""
    if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
        return False
    nearly = np.allclose(values.astype(np.float16), values, rtol=_NEARLY, atol=1e-6)
    return values.ndim > 1 or (bool(_LEARNT.search(name)) and nearly)


def rounded_to_int8(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Weights [O, ...] as int8, and the scale [O, 1, ...] of each output channel: symmetric, +-127 is its largest."""
    largest = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True)
    scale = np.maximum(largest / 127, np.finfo(np.float32).tiny).astype(np.float32)
    return np.rint(values / scale).astype(np.int8), scale
