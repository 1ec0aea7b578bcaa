"""INT8 arithmetic for the fast variant: convolutions and what stands between them; the rest stays float32.

Rounded are feature maps (uint8, one range each, seen on training photos) and weights (per output channel). Normalising
a photo, textures and novelty, the classifier and softmax stay float32: they cost nothing, and novelty squares errors.

Weights keep to 7 bits. With 8, processors without VNNI (AVX2) add neighbouring products u8 * s8 in 16 bits and clamp:
2 * 255 * 127 > 32767. ONNX Runtime's cure (session.x64quantprecision) rewrites weights beyond +-64 for slower kernels
that VNNI machines do without. Within +-64 the same file is right and fast on both.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from bintally.progress import SILENT, Progress, Task
from bintally.training.onnx_file import COMPUTE

BATCH: Final = 16

_ON_MAPS: Final = frozenset({"Conv", "Add", "Relu", "Clip", "MaxPool", "AveragePool", "Concat"})


def quantized(
    model: onnx.ModelProto, photos_nhwc: NDArray[np.uint8], *, progress: Progress = SILENT
) -> onnx.ModelProto:
    """`model` (norms merged) with INT8 convolutions; `photos_nhwc` uint8 [N, H, W, 3] show the ranges of its maps.

    Raises:
        ValueError: it has no convolution.
    """
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{index}"
    chosen = nodes_on_maps(model.graph)
    if not chosen:
        raise ValueError("it has no convolution that INT8 could speed up")
    with tempfile.TemporaryDirectory() as scratch, progress.task("quantize", total=len(photos_nhwc)) as task, _quiet():
        path = Path(scratch) / "int8.onnx"
        quantize_static(
            model,
            path,
            _Calibration(photos_nhwc, model.graph.input[0].name, task),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=sorted(_ON_MAPS),
            nodes_to_quantize=chosen,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        rounded = onnx.load_model(path)
    helper.set_model_props(rounded, {COMPUTE: "int8"})
    return rounded


def nodes_on_maps(graph: onnx.GraphProto) -> list[str]:
    """Names of convolutions, and of what works on their feature maps; a mean over positions ends that.

    By type alone, an Add of the novelty was among them: clipped to what training photos reach, it called faces usual.
    """
    maps: set[str] = set()
    names = []
    for node in graph.node:  # in the order of computation, as ONNX demands
        if node.op_type == "Conv" or (node.op_type in _ON_MAPS and maps.intersection(node.input)):
            maps.update(node.output)
            names.append(node.name)
    return names


class _Calibration(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Photos in batches, as onnxruntime asks for them."""

    def __init__(self, photos_nhwc: NDArray[np.uint8], name: str, task: Task) -> None:
        self._photos_nhwc, self._name, self._task, self._start = photos_nhwc, name, task, 0

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch_nhwc = self._photos_nhwc[self._start : self._start + BATCH]
        self._start += len(batch_nhwc)
        self._task.advance(len(batch_nhwc))
        return {self._name: batch_nhwc} if len(batch_nhwc) else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice to merge norms first, on the root logger: they are merged."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)
