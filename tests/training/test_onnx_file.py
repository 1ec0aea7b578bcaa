"""How weights are stored, and INT8 arithmetic: sizes, what ONNX Runtime makes of it, and what it does to answers."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bintally.errors import BackboneError
from bintally.training.network import CountNetwork, build_network
from bintally.training.onnx_file import BACKBONE, backbone_weights, onnx_bytes, onnx_graph, rounded_to_int8
from bintally.training.quantize import nodes_on_maps, quantized
from bintally.training.recipe import NetworkSettings
from bintally.training.servable import Familiar, Member, Servable

PX = 64
PHOTOS_NHWC = np.random.default_rng(0).integers(0, 256, (12, PX, PX, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def network() -> CountNetwork:
    """Random weights, and norms that have something to normalise by: merged ones must not be the identity."""
    torch.manual_seed(0)
    found, _ = build_network(NetworkSettings.of({"backbone": "test_resnet", "weights": "none"}), 7)
    for module in found.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        found.train()(_nchw())
        found.head().weight.mul_(5)  # type: ignore[operator]  # timm's heads have no common type
    return found.eval()


@pytest.fixture(scope="module")
def servable(network: CountNetwork) -> Servable:
    known_nhwc = np.random.default_rng(1).integers(0, 256, (200, PX, PX, 3), dtype=np.uint8)
    with torch.no_grad():
        familiar = Familiar.fit(network.look(torch.from_numpy(known_nhwc).permute(0, 3, 1, 2))[1])
    return Servable([Member(network, torch.ones(7))], temperature=1.0, flip=True, familiar=familiar).eval()


@pytest.fixture(scope="module")
def graph(servable: Servable) -> onnx.ModelProto:
    return onnx_graph(servable, torch.from_numpy(PHOTOS_NHWC[:2]))


@pytest.fixture(scope="module")
def in_int8(servable: Servable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folded = onnx_graph(servable, torch.from_numpy(PHOTOS_NHWC[:2]), fold_norms=True)
    path = tmp_path_factory.mktemp("int8") / "model.onnx"
    path.write_bytes(onnx_bytes(quantized(folded, PHOTOS_NHWC)))
    return path


@pytest.mark.parametrize(("store", "kind"), [("float16", TensorProto.FLOAT16), ("int8", TensorProto.INT8)])
def test_large_weights_are_stored_small_and_training_gets_them_back(
    graph: onnx.ModelProto, network: CountNetwork, tmp_path: Path, store: Any, kind: int
) -> None:
    path = _written(graph, tmp_path, store)
    large = [each for each in onnx.load(path).graph.initializer if np.prod(each.dims) >= 4096]
    matrices = [each for each in large if each.name.startswith(BACKBONE)]
    assert matrices
    assert {each.data_type for each in matrices} == {kind}
    assert {each.data_type for each in large} <= {kind, TensorProto.FLOAT16}  # the novelty's are never int8
    state, wanted = backbone_weights(path), network.backbone.state_dict()
    assert set(state) == {name for name in wanted if not name.endswith("num_batches_tracked")}
    for name, value in state.items():
        # Half a step of int8 is largest / 254; float16 has 11 bits.
        allowed = wanted[name].abs().max() * (1 / 253 if store == "int8" else 1 / 2000)
        assert (value - wanted[name]).abs().max() <= allowed, name


@pytest.mark.parametrize("store", ["float16", "int8"])
def test_what_is_stored_small_is_widened_once_at_load(graph: onnx.ModelProto, tmp_path: Path, store: Any) -> None:
    """Through DequantizeLinear it once was at each photo, and norms were left standing: 1.3x the time."""
    optimized = _optimized(_written(graph, tmp_path, store), tmp_path)
    assert "BatchNormalization" not in {node.op_type for node in optimized.node}
    assert {each.data_type for each in optimized.initializer} <= {TensorProto.FLOAT, TensorProto.INT64}
    weights = {each.name for each in optimized.initializer}
    assert not [n for n in optimized.node if n.op_type in ("Cast", "Mul") and weights.issuperset(n.input)]


def test_int8_storage_halves_the_file_and_hardly_moves_an_answer(graph: onnx.ModelProto, tmp_path: Path) -> None:
    paths = [_written(graph, tmp_path, store) for store in ("float16", "int8")]
    [half_nk, half_n], [int8_nk, int8_n] = [_answers(path, PHOTOS_NHWC) for path in paths]
    weights = sum(np.prod(each.dims) for each in graph.graph.initializer if np.prod(each.dims) >= 4096)
    assert paths[0].stat().st_size - paths[1].stat().st_size > 0.8 * weights
    assert 0 < np.abs(half_nk - int8_nk).max() < 0.1
    assert np.corrcoef(half_n, int8_n)[0, 1] > 0.98


def test_norms_are_halved_only_where_that_hardly_changes_them() -> None:
    ones, huge = np.ones(64, np.float32), np.full(64, 1e6, np.float32)
    named = {"network.backbone.norm": ones, "network.backbone.huge": huge, "familiar_mean_t": ones}
    initializers = [onnx.numpy_helper.from_array(values, name) for name, values in named.items()]
    shapes = [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [64])]
    graph = onnx.helper.make_graph([], "g", [], [], initializers, value_info=shapes)
    stored = onnx.load_model_from_string(onnx_bytes(onnx.helper.make_model(graph))).graph
    assert {each.name for each in stored.initializer} == {
        "network.backbone.norm/half",
        "network.backbone.huge",
        "familiar_mean_t",
    }
    assert not stored.value_info


@given(st_numpy.arrays(np.float32, (3, 4), elements=st.floats(-1e4, 1e4, width=32)))
def test_rounding_is_symmetric_and_off_by_half_a_step_at_most(values: NDArray[np.float32]) -> None:
    rounded, scale = rounded_to_int8(values)
    assert rounded.dtype == np.int8
    assert rounded.min() >= -127
    assert (np.abs(rounded * scale - values) <= 0.501 * scale).all()
    assert (rounded_to_int8(-values)[0] == -rounded).all()


def test_int8_arithmetic_is_really_done_and_near_torch(in_int8: Path, servable: Servable, tmp_path: Path) -> None:
    done = Counter(node.op_type for node in _optimized(in_int8, tmp_path).node)
    assert done["QLinearConv"] > 5
    assert not done["Conv"] + done["BatchNormalization"]
    with torch.inference_mode():
        [wanted_nk, _] = servable(torch.from_numpy(PHOTOS_NHWC))
    assert np.abs(_answers(in_int8, PHOTOS_NHWC)[0] - wanted_nk.numpy()).mean() < 0.05


def test_int8_leaves_what_is_strange_strange(in_int8: Path) -> None:
    """Its novelty was once clipped to what the photos that show the ranges have: nothing was strange any more."""
    stripes_nhwc = np.zeros((1, PX, PX, 3), np.uint8)
    stripes_nhwc[:, :, ::8] = 255
    assert _answers(in_int8, stripes_nhwc)[1][0] > 3 * _answers(in_int8, PHOTOS_NHWC)[1].max()


def test_int8_says_the_same_of_one_photo_as_of_many_and_of_its_mirror_image(in_int8: Path) -> None:
    together_nk = _answers(in_int8, PHOTOS_NHWC)[0]
    assert np.allclose(_answers(in_int8, PHOTOS_NHWC[:1])[0], together_nk[:1], atol=1e-5)
    assert np.allclose(_answers(in_int8, PHOTOS_NHWC[:, :, ::-1].copy())[0], together_nk, atol=1e-5)


def test_int8_weights_can_not_overflow_where_there_is_no_vnni(in_int8: Path) -> None:
    weights = [each for each in onnx.load(in_int8).graph.initializer if each.data_type == TensorProto.INT8]
    largest = [int(np.abs(numpy_helper.to_array(each).astype(int)).max(initial=0)) for each in weights]
    assert 60 <= max(largest) <= 64  # 2 * 255 * 64 is below 2**15


def test_training_can_not_go_on_from_int8_arithmetic(in_int8: Path) -> None:
    with pytest.raises(BackboneError, match="computes in INT8") as caught:
        backbone_weights(in_int8)
    assert "Start from the run" in caught.value.hint


def test_only_feature_maps_are_rounded() -> None:
    """Whatever stands before the first convolution or behind a mean over positions stays as it is."""
    nodes = [
        helper.make_node("Add", ["x", "c"], ["shifted"], name="before"),
        helper.make_node("Conv", ["shifted", "w"], ["a"], name="conv"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Add", ["b", "a"], ["s"], name="residual"),
        helper.make_node("ReduceMean", ["s"], ["mean"], name="mean"),
        helper.make_node("Add", ["mean", "c"], ["y"], name="behind"),
    ]
    assert nodes_on_maps(helper.make_graph(nodes, "g", [], [])) == ["conv", "relu", "residual"]


def test_a_network_without_convolutions_is_refused() -> None:
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [], [])
    with pytest.raises(ValueError, match="no convolution"):
        quantized(helper.make_model(graph), PHOTOS_NHWC)


def _nchw() -> torch.Tensor:
    return torch.from_numpy(PHOTOS_NHWC).permute(0, 3, 1, 2)


def _written(graph: onnx.ModelProto, folder: Path, store: Any) -> Path:
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    path = folder / f"{store}.onnx"
    path.write_bytes(onnx_bytes(copy, store=store))
    return path


def _optimized(path: Path, folder: Path) -> onnx.GraphProto:
    """What ONNX Runtime computes after it has loaded a model, at its default level of optimization."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimized.onnx").graph


def _answers(path: Path, photos_nhwc: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    answers: list[NDArray[np.float32]] = session.run(None, {"photos": photos_nhwc})
    return answers
