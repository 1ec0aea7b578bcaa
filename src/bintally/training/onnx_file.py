"""The ONNX file of a bundle: half the bytes, float32 arithmetic, and weights that training can go on from.

Large weights are stored as float16 and cast when the file is loaded (ONNX Runtime folds the casts away), so the answers
are float32 arithmetic on weights rounded once. Initializers keep the names they have in torch.
"""

import io
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxscript import optimizer
from torch import Tensor

from bintally.errors import BackboneError

BACKBONE: Final = "network.backbone."
_HALVE_FROM: Final = 4096  # elements; small vectors stay exact, they are nearly nothing of the file
_HALF: Final = "/half"


def onnx_bytes(servable: torch.nn.Module, photos: Tensor) -> bytes:
    """The graph of `servable`, batch size free, traced with `photos` uint8 [N, H, W, 3]."""
    outputs = ["probabilities", "novelty"][: len(servable(photos[:1]))]
    program: Any = torch.onnx.export(
        servable,
        (photos,),
        dynamo=True,
        input_names=["photos"],
        output_names=outputs,
        dynamic_shapes={"photos": {0: torch.export.Dim("photos", min=1, max=65536)}},
        optimize=False,  # it would fold norms into convolutions, and the weights could not be taken back
        verbose=False,
    )
    _simplify(program.model)
    model: onnx.ModelProto = program.model_proto
    _halve(model)
    buffer = io.BytesIO()
    onnx.save_model(model, buffer)
    return buffer.getvalue()


def backbone_weights(path: Path) -> dict[str, Tensor]:
    """The backbone's weights of an exported model, under the names they have in torch.

    Raises:
        BackboneError: not an ONNX file, or not one of ours.
    """
    try:
        model = onnx.load_model(path)
    except Exception as error:  # protobuf raises DecodeError from a module that differs by its implementation
        raise BackboneError(f"{path} is no ONNX file: {error}.", hint="Export the bundle again.") from error
    weights = {
        tensor.name.removesuffix(_HALF).removeprefix(BACKBONE): torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in model.graph.initializer
        if tensor.name.startswith(BACKBONE)
    }
    if not weights:
        raise BackboneError(
            f"{path} was not exported by bintally: it names no backbone weights.", hint="Start from a run."
        )
    return {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}


def _simplify(graph: Any) -> None:
    """Folds what is constant and drops the exporter's notes (stack traces): they cost megabytes and loading time."""
    optimizer.inline(graph)
    optimizer.fold_constants(graph)
    optimizer.remove_unused_nodes(graph)
    for node in graph.graph:
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()


def _halve(model: onnx.ModelProto) -> None:
    """Stores large float32 initializers as float16, with a cast before their users."""
    graph = model.graph
    casts = []
    for tensor in list(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < _HALVE_FROM:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
            continue
        half = numpy_helper.from_array(values.astype(np.float16), tensor.name + _HALF)
        graph.initializer.remove(tensor)
        graph.initializer.append(half)
        casts.append(helper.make_node("Cast", [half.name], [tensor.name], to=TensorProto.FLOAT))
    for place, node in enumerate(casts):
        graph.node.insert(place, node)
