"""A real, tiny bundle made at test time: its network reads the count off a photo's mean brightness.

    brightness 40, 70, 100 ... 220  ->  counts 0, 1, 2 ... 6+
    novelty = |mean red - mean blue|: grey photos are bins, coloured ones are not
    evidence of a change: peaks at the difference of the counts (`change`)
    products: as many as items; measures: all average (`verification`)

so that a test knows each answer in advance, through the same ONNX Runtime path as a real model.
"""

import io
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from bintally.artifacts import sha256_of
from bintally.bundle import (
    BESIDE,
    CARD,
    CHANGE,
    MODEL,
    SCHEMA_VERSION,
    Card,
    ChangeCard,
    Figure,
    GraphCard,
    SplitMetrics,
    VerificationCard,
    card_json,
    read_card,
)
from bintally.counting.facts import MEASURES
from bintally.counting.verification import PRODUCTS
from bintally.records import COUNT_KEYS

DARKEST, STEP = 40.0, 30.0
NOVELTY_THRESHOLD = 60.0
MAX_CHANGE = 6
UNCHANGED = 0.3


def make_bundle(
    folder: Path,
    *,
    keys: tuple[str, ...] = COUNT_KEYS,
    height_px: int = 32,
    width_px: int = 48,
    sharpness: float = 2.0,
    novelty: bool = True,
    change: bool = False,
    verification: bool = False,
    **card: Any,
) -> Path:
    """Writes model.onnx and card.json into `folder` and returns it; `card` replaces fields of the card.

    With `change` it compares photos, with `verification` it judges records, too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model_path = folder / MODEL
    size = (len(keys), height_px, width_px, sharpness)
    onnx.save(_network(*size, {"novelty"} if novelty else set()), str(model_path))
    told = {"maps": change, "attributes": verification}
    beside = {name for name, is_told in told.items() if is_told}
    if beside:
        onnx.save(_network(*size, beside), str(folder / BESIDE))
    prior = {key: 1 / len(keys) for key in keys}
    figures = {"accuracy": Figure(0.9, 0.85, 0.95), "rmse": Figure(0.4, 0.3, 0.5)}
    blind = {"accuracy": 0.2, "rmse": 1.4}
    fields: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "name": "tiny",
        "created": "2026-01-01T00:00:00Z",
        "height_px": height_px,
        "width_px": width_px,
        "count_keys": keys,
        "count_values": {key: 7.5 if key.endswith("+") else float(key) for key in keys},
        "temperature": 1.0,
        "train_prior": prior,
        "target_prior": prior,
        "flip_averaging": False,
        "set_coverage": 0.9,
        "set_threshold": 0.9,
        "novelty_threshold": NOVELTY_THRESHOLD if novelty else None,
        "metrics": {"test": SplitMetrics(photos=100, counts="1-5", figures=figures, blind=blind)},
        "dataset": {"fingerprint": "0" * 64, "source": "rendered", "photos": {"train": 300, "val": 100, "test": 100}},
        "recipe": {"name": "tiny"},
        "code_version": "0" * 64,
        "licence": "CC0-1.0",
        "model_sha256": sha256_of(model_path),
        "model_bytes": model_path.stat().st_size,
        "beside": _graph_card(folder / BESIDE) if beside else None,
        "change": _change_card(folder) if change else None,
        "verification": _verification_card() if verification else None,
    }
    (folder / CARD).write_bytes(card_json(Card(**(fields | card))))
    return folder


def recard(folder: Path, **changes: Any) -> Path:
    """Rewrites fields of a bundle's card and lets it speak of the model file as it is now."""
    model_path = folder / MODEL
    changes |= {"model_sha256": sha256_of(model_path), "model_bytes": model_path.stat().st_size}
    (folder / CARD).write_bytes(card_json(msgspec.structs.replace(read_card(folder / CARD), **changes)))
    return folder


def bin_pixels(count: float, *, height_px: int = 60, width_px: int = 80, seed: int = 0) -> NDArray[np.uint8]:
    """Grey noise around the brightness that the tiny network takes for `count` items: uint8 [H, W, 3]."""
    noise_hw = np.random.default_rng(seed).uniform(-30, 30, (height_px, width_px))
    grey_hw = np.clip(DARKEST + STEP * count + noise_hw - noise_hw.mean(), 0, 255).round().astype(np.uint8)
    return np.repeat(grey_hw[..., None], 3, axis=2)


def bin_photo(
    count: float, *, image_format: str = "PNG", height_px: int = 60, width_px: int = 80, seed: int = 0
) -> bytes:
    """`bin_pixels` as the bytes of a photo."""
    buffer = io.BytesIO()
    Image.fromarray(bin_pixels(count, height_px=height_px, width_px=width_px, seed=seed)).save(buffer, image_format)
    return buffer.getvalue()


def no_bin_pixels(*, height_px: int = 60, width_px: int = 80) -> NDArray[np.uint8]:
    """A red photo with texture, which the tiny network finds novel: uint8 [H, W, 3]."""
    pixels_hwc = bin_pixels(3, height_px=height_px, width_px=width_px)
    pixels_hwc[..., 0] = np.minimum(pixels_hwc[..., 0].astype(int) + 100, 255)
    pixels_hwc[..., 2] = 20
    return pixels_hwc


def _graph_card(path: Path) -> GraphCard:
    return GraphCard(model_sha256=sha256_of(path), model_bytes=path.stat().st_size)


def _change_card(folder: Path) -> ChangeCard:
    """Writes change.onnx; all changes are as likely, but for the bins that nobody touched."""
    path = folder / CHANGE
    onnx.save(_comparison(), str(path))
    return ChangeCard(
        max_change=MAX_CHANGE,
        prior=((1 / (2 * MAX_CHANGE + 1),) * (2 * MAX_CHANGE + 1),),
        unchanged=UNCHANGED,
        temperature=1.0,
        photo_weight=0.5,
        set_threshold=0.9,
        model_sha256=sha256_of(path),
        model_bytes=path.stat().st_size,
    )


def _verification_card() -> VerificationCard:
    return VerificationCard(
        measures=dict.fromkeys(MEASURES, (3.0, 1.0)),
        spread=dict.fromkeys(MEASURES, 1.0),
        products_prior=(1 / len(PRODUCTS),) * len(PRODUCTS),
        products_weight=0.5,
        measures_weight=0.5,
        slope=1.0,
        bias=0.0,
        threshold=0.5,
    )


def _comparison() -> onnx.ModelProto:
    """Evidence -4 (change - round(later - earlier))^2 of the changes -6..6."""
    maps: list[str | int | None] = ["N", 1, 1, 1, 1]
    constants: dict[str, NDArray[Any]] = {
        "row": np.array([-1, 1], np.int64),
        "changes_d": np.arange(-MAX_CHANGE, MAX_CHANGE + 1, dtype=np.float32),
        "minus_sharpness": np.array(-4.0, np.float32),
    }
    nodes = [
        helper.make_node("Sub", ["later", "earlier"], ["more_maps"]),
        helper.make_node("Round", ["more_maps"], ["whole_maps"]),
        helper.make_node("Reshape", ["whole_maps", "row"], ["whole_n1"]),
        helper.make_node("Sub", ["whole_n1", "changes_d"], ["distance_nd"]),
        helper.make_node("Mul", ["distance_nd", "distance_nd"], ["square_nd"]),
        helper.make_node("Mul", ["square_nd", "minus_sharpness"], ["evidence"]),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, maps) for name in ("earlier", "later")]
    outputs = [helper.make_tensor_value_info("evidence", TensorProto.FLOAT, ["N", 2 * MAX_CHANGE + 1])]
    return _checked(nodes, "change", inputs, outputs, constants)


def _checked(
    nodes: list[Any], name: str, inputs: list[Any], outputs: list[Any], constants: dict[str, NDArray[Any]]
) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, name, inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def _network(classes: int, height_px: int, width_px: int, sharpness: float, tells: set[str]) -> onnx.ModelProto:
    constants: dict[str, NDArray[Any]] = {
        "everywhere": np.array([1, 2, 3], np.int64),
        "over_area": np.array([1, 2], np.int64),
        "darkest": np.array(DARKEST, np.float32),
        "step": np.array(STEP, np.float32),
        "levels_k": np.arange(classes, dtype=np.float32),
        "minus_sharpness": np.array(-sharpness, np.float32),
        "row": np.array([-1, 1], np.int64),
        "red": np.array(0, np.int64),
        "blue": np.array(2, np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["photos"], ["x_nhwc"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x_nhwc", "everywhere"], ["mean_n"], keepdims=0),
        helper.make_node("Sub", ["mean_n", "darkest"], ["above_n"]),
        helper.make_node("Div", ["above_n", "step"], ["level_n"]),
        helper.make_node("Reshape", ["level_n", "row"], ["level_n1"]),
        helper.make_node("Sub", ["level_n1", "levels_k"], ["distance_nk"]),
        helper.make_node("Mul", ["distance_nk", "distance_nk"], ["square_nk"]),
        helper.make_node("Mul", ["square_nk", "minus_sharpness"], ["logits_nk"]),
        helper.make_node("Softmax", ["logits_nk"], ["probabilities"], axis=1),
    ]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes])]
    if "novelty" in tells:
        nodes += [
            helper.make_node("ReduceMean", ["x_nhwc", "over_area"], ["mean_nc"], keepdims=0),
            helper.make_node("Gather", ["mean_nc", "red"], ["red_n"], axis=1),
            helper.make_node("Gather", ["mean_nc", "blue"], ["blue_n"], axis=1),
            helper.make_node("Sub", ["red_n", "blue_n"], ["tint_n"]),
            helper.make_node("Abs", ["tint_n"], ["novelty"]),
        ]
        outputs.append(helper.make_tensor_value_info("novelty", TensorProto.FLOAT, ["N"]))
    if "maps" in tells:
        constants["as_maps"] = np.array([-1, 1, 1, 1, 1], np.int64)
        nodes.append(helper.make_node("Reshape", ["level_n", "as_maps"], ["maps"]))
        outputs.append(helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["N", 1, 1, 1, 1]))
    if "attributes" in tells:
        constants |= {
            "products_p": np.arange(len(PRODUCTS), dtype=np.float32),
            "none": np.array(0, np.float32),
            "most": np.array(len(PRODUCTS) - 1, np.float32),
            "no_measures": np.zeros((1, len(MEASURES)), np.float32),
        }
        nodes += [
            helper.make_node("Clip", ["level_n1", "none", "most"], ["products_n1"]),
            helper.make_node("Sub", ["products_n1", "products_p"], ["products_off_np"]),
            helper.make_node("Mul", ["products_off_np", "products_off_np"], ["products_square_np"]),
            helper.make_node("Mul", ["products_square_np", "minus_sharpness"], ["products_logits_np"]),
            helper.make_node("Softmax", ["products_logits_np"], ["products_np"], axis=1),
            helper.make_node("Mul", ["level_n1", "none"], ["zero_n1"]),
            helper.make_node("Add", ["zero_n1", "no_measures"], ["measures_nm"]),
            helper.make_node("Concat", ["products_np", "measures_nm"], ["attributes"], axis=1),
        ]
        outputs.append(
            helper.make_tensor_value_info("attributes", TensorProto.FLOAT, ["N", len(PRODUCTS) + len(MEASURES)])
        )
    photos = helper.make_tensor_value_info("photos", TensorProto.UINT8, ["N", height_px, width_px, 3])
    return _checked(nodes, "brightness", [photos], outputs, constants)
