"""The one inference path, through a real ONNX model whose answers are known in advance (tests/bundles.py)."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

import bintally
from bintally.bundle import MODEL
from bintally.counting.counter import Counter
from bintally.counting.network import MAX_BATCH, Network
from bintally.errors import BundleError, ModelError, PhotoError, UsageError
from bintally.records import COUNT_KEYS, CountEstimate, Timings
from bintally.settings import BUNDLED
from tests.bundles import bin_photo, bin_pixels, make_bundle, no_bin_pixels, recard


@pytest.mark.parametrize("count", range(7))
def test_counts_a_photo(counter: Counter, count: int) -> None:
    estimate = counter.count(bin_photo(count))
    assert estimate.count == count
    assert estimate.probability > 0.75
    assert tuple(estimate.probabilities) == COUNT_KEYS
    assert sum(estimate.probabilities.values()) == pytest.approx(1)
    assert estimate.count_set[0] == COUNT_KEYS[count]
    assert (estimate.abstain, estimate.error, estimate.model) == (None, None, "tiny")


def test_the_expected_count_takes_the_open_top_at_the_cards_value(counter: Counter) -> None:
    shares = (estimate := counter.count(bin_photo(6))).probabilities
    wanted = sum(share * (7.5 if key == "6+" else int(key)) for key, share in shares.items())
    assert estimate.expected_count == pytest.approx(wanted)
    assert estimate.expected_count is not None
    assert estimate.expected_count > 6


def test_a_photo_may_come_in_any_shape(counter: Counter, tmp_path: Path) -> None:
    path = tmp_path / "00042.png"
    path.write_bytes(bin_photo(2))
    image = Image.open(path)
    answers = [counter.count(photo) for photo in (path, str(path), path.read_bytes(), image, bin_pixels(2))]
    assert len({tuple(answer.probabilities.values()) for answer in answers}) == 1
    assert [answer.bin_image_id for answer in answers] == ["00042", "00042", None, None, None]
    assert answers[0].path == str(path)


def test_timings_tell_decoding_from_inference(counter: Counter) -> None:
    timings = counter.count(bin_photo(2)).timings
    assert timings is not None
    assert 0 < timings.decode_ms < 5_000
    assert 0 < timings.inference_ms < 5_000


def test_what_another_session_of_the_model_saw_is_read_as_ones_own(counter: Counter) -> None:
    pixels_nhwc = np.stack([bin_pixels(count, height_px=32, width_px=48) for count in (1, 4)])
    seen = Network(counter.bundle, threads=2).see(pixels_nhwc)
    timings = [Timings(decode_ms=1.0, inference_ms=2.0)] * 2
    for asked in (counter, counter.restricted("1-3")):
        estimates = asked.read(pixels_nhwc, seen, timings)
        wanted = asked.count_pixels(pixels_nhwc)
        assert [each.timings for each in estimates] == timings
        assert [each.probabilities for each in estimates] == [each.probabilities for each in wanted]
        assert [each.count_set for each in estimates] == [each.count_set for each in wanted]


def test_asking_for_some_counts_restricts_and_renormalises(tiny_bundle: Path, counter: Counter) -> None:
    whole = counter.count(bin_photo(1)).probabilities
    estimate = Counter(tiny_bundle, counts="1-5", threads=1).count(bin_photo(1))
    assert tuple(estimate.probabilities) == ("1", "2", "3", "4", "5")
    mass = sum(whole[key] for key in estimate.probabilities)
    for key, share in estimate.probabilities.items():
        assert share == pytest.approx(whole[key] / mass, abs=1e-6)
    assert estimate.expected_count == pytest.approx(sum(int(k) * p for k, p in estimate.probabilities.items()))


@given(st.sets(st.sampled_from(COUNT_KEYS), min_size=1), st.floats(0, 6))
def test_any_restriction_is_a_distribution_over_what_was_asked(
    tiny_bundle: Path, asked: set[str], level: float
) -> None:
    counter = _cached(tiny_bundle, ",".join(sorted(asked)))
    [estimate] = counter.count_pixels(bin_pixels(level, height_px=32, width_px=48)[None])
    assert set(estimate.probabilities) == asked
    assert sum(estimate.probabilities.values()) == pytest.approx(1)
    assert estimate.count in {int(key[0]) for key in asked}
    assert set(estimate.count_set) <= asked


_COUNTERS: dict[str, Counter] = {}


def _cached(bundle: Path, counts: str) -> Counter:
    return _COUNTERS.setdefault(counts, Counter(bundle, counts=counts, threads=1))


def test_where_no_asked_count_has_any_probability_it_abstains_with_a_uniform_answer(tmp_path: Path) -> None:
    sure = Counter(make_bundle(tmp_path / "sure", sharpness=1e4), counts="4-6+", threads=1)
    estimate = sure.count(bin_photo(0))
    assert estimate.probabilities == pytest.approx({"4": 1 / 3, "5": 1 / 3, "6+": 1 / 3})
    assert estimate.abstain == "the model gives no probability to any of the counts 4, 5, 6+"


@pytest.mark.parametrize(("counts", "told"), [("7", "'7'"), ("5-1", "'5-1'"), ("", "no counts"), ("a-b", "'a-b'")])
def test_asking_for_counts_there_are_none_of(tiny_bundle: Path, counts: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Counter(tiny_bundle, counts=counts)


def test_abstains_from_what_is_no_bin_but_keeps_the_numbers(counter: Counter) -> None:
    estimate = counter.count(no_bin_pixels())
    assert estimate.abstain is not None
    assert estimate.abstain.startswith("does not look like a bin (novelty ")
    assert estimate.abstain.endswith(" > 60.0)")
    assert sum(estimate.probabilities.values()) == pytest.approx(1)
    assert estimate.count is not None


@pytest.mark.parametrize(("level", "reason"), [(0, "black frame"), (200, "blank frame")])
def test_abstains_from_an_empty_frame_without_asking_the_model(counter: Counter, level: int, reason: str) -> None:
    assert counter.count(np.full((50, 50, 3), level, np.uint8)).abstain == reason


def test_a_model_without_novelty_takes_everything_with_something_in_it(tmp_path: Path) -> None:
    plain = Counter(make_bundle(tmp_path / "plain", novelty=False), threads=1)
    assert plain.count(no_bin_pixels()).abstain is None
    assert plain.distribution(np.zeros((2, 32, 48, 3), np.uint8))[1] is None


def test_distribution_is_what_count_says(counter: Counter) -> None:
    pixels_nhwc = np.stack([bin_pixels(level, height_px=32, width_px=48) for level in (0, 3.5, 6)])
    probabilities_nk, novelty_n = counter.distribution(pixels_nhwc)
    assert probabilities_nk.dtype == np.float32
    assert novelty_n is not None
    assert novelty_n.shape == (3,)
    for row, estimate in zip(probabilities_nk, counter.count_pixels(pixels_nhwc), strict=True):
        assert row == pytest.approx(list(estimate.probabilities.values()), abs=1e-6)


@pytest.mark.parametrize("photos", [0, 1, MAX_BATCH, MAX_BATCH + 1, 3 * MAX_BATCH + 2])
def test_a_batch_of_any_size_answers_photo_by_photo(counter: Counter, photos: int) -> None:
    pixels = [bin_pixels(index % 7, height_px=32, width_px=48) for index in range(photos)]
    batch = counter.count_pixels(np.array(pixels, np.uint8).reshape(photos, 32, 48, 3))
    assert [estimate.count for estimate in batch] == [index % 7 for index in range(photos)]
    assert counter.distribution(np.array(pixels, np.uint8).reshape(photos, 32, 48, 3))[0].shape == (photos, 7)


def test_threads_may_share_a_counter(counter: Counter) -> None:
    photos = [bin_photo(index % 7) for index in range(40)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(counter.count, photos))
    assert [answer.count for answer in answers] == [index % 7 for index in range(40)]


@pytest.mark.parametrize("photo", ["nowhere/photo.jpg", b"", b"text", np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_what_is_no_photo_is_a_photo_error(counter: Counter, photo: object) -> None:
    with pytest.raises(PhotoError):
        counter.count(photo)  # type: ignore[arg-type]  # as a user without a type checker would


def test_a_folder_is_no_photo(counter: Counter, tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="no photo"):
        counter.count(tmp_path)


@pytest.mark.parametrize("pixels", [np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 32, 48, 3), np.float32)])
def test_pixels_of_another_size_or_type_are_refused(counter: Counter, pixels: NDArray[Any]) -> None:
    with pytest.raises(UsageError, match="not uint8"):
        counter.count_pixels(pixels)


def test_the_environment_names_the_model(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINTALLY_BUNDLE", str(tiny_bundle))
    assert bintally.Counter(threads=1).card.name == "tiny"


def test_without_a_bundled_model_it_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BINTALLY_BUNDLE", raising=False)
    absent = tmp_path / "champion"
    monkeypatch.setattr("bintally.settings.BUNDLED_CHAMPION", absent)
    monkeypatch.setattr("bintally.bundle.BUNDLED_CHAMPION", absent)
    monkeypatch.setitem(BUNDLED, "champion", absent)
    with pytest.raises(BundleError, match="no bundled model") as caught:
        Counter()
    assert "bintally export" in caught.value.hint


@pytest.mark.parametrize(
    ("card", "told"),
    [
        ({"height_px": 64}, "'photos' is"),
        ({"count_keys": ("0", "1")}, "'probabilities' is"),
    ],
)
def test_a_card_that_lies_about_its_network_is_found_out_at_once(
    tmp_path: Path, card: dict[str, Any], told: str
) -> None:
    with pytest.raises(BundleError, match=told):
        Counter(recard(make_bundle(tmp_path / "lying"), **card))


def test_a_promised_novelty_that_the_network_lacks_is_found_out_at_once(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="'novelty' is missing"):
        Counter(make_bundle(tmp_path / "bundle", novelty=False, novelty_threshold=3.0))


def test_a_file_that_is_no_network_is_a_bundle_error(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    (bundle / MODEL).write_bytes(b"this is no protobuf")
    recard(bundle)
    with pytest.raises(BundleError, match="can't be loaded"):
        Counter(bundle)


def test_nan_from_a_network_is_an_error_and_never_a_count(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", novelty=False)
    nodes = [
        helper.make_node("Cast", ["photos"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x", "area"], ["mean"], keepdims=0),
        helper.make_node("Sub", ["mean", "mean"], ["zero"]),
        helper.make_node("Div", ["zero", "zero"], ["nan"]),
        helper.make_node("Concat", ["nan"] * 7, ["flat"], axis=0),
        helper.make_node("Reshape", ["flat", "shape"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "nan",
        [helper.make_tensor_value_info("photos", TensorProto.UINT8, [1, 32, 48, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, 7])],
        [
            helper.make_tensor("area", TensorProto.INT64, [3], [1, 2, 3]),
            helper.make_tensor("shape", TensorProto.INT64, [2], [1, 7]),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(bundle / MODEL))
    recard(bundle)
    with pytest.raises(ModelError, match="NaN"):
        Counter(bundle, threads=1).count(bin_photo(1))


def test_an_estimate_survives_its_json(counter: Counter) -> None:
    estimate = counter.count(bin_photo(4))
    again = CountEstimate.from_json(estimate.to_json())
    assert again.count == 4
    assert again.probabilities == pytest.approx(estimate.probabilities, abs=1e-4)
