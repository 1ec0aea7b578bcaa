"""Whatever is sent as a photo: the answer that `Counter.count` gives, or a clear refusal, within bounded memory."""

import base64
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

from bintally.bundle import MODEL
from bintally.counting.counter import Counter
from bintally.errors import PhotoError
from tests.bundles import DARKEST, STEP, recard
from tests.serving.hardening import strange
from tests.serving.hardening.strange import COUNT, SCENE, Strange, exif, saved
from tests.serving.hardening.watched import Client, Told, Watched, check_error

# What Pillow says about palettes and damaged tags; the answers are judged all the same.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

ONE_PHOTO_MB = 900
"""The most memory that one photo may take for a moment: 49 megapixels of WebP took 770 MB (Pillow's two canvases, the
picture, and the same as RGB), all else less."""

KEPT_MB = 500
"""What the allocator may keep of that for the next: it was 390 MB after photos of 49 megapixels on their side."""


@pytest.fixture(scope="module")
def served(bundle: Path, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    state = tmp_path_factory.mktemp("state")
    with Watched(bundle, state=state, samples=samples, threads=1) as made:
        made.start()
        yield made


@pytest.fixture
def client(served: Watched) -> Iterator[Client]:
    with served.client() as made:
        yield made


def wrong(photos: Sequence[Strange], check: Callable[[Strange], None]) -> dict[str, str]:
    """What was wrong with which photo: all are looked at before one is complained of."""
    found = {}
    for photo in photos:
        try:
            check(photo)
        except AssertionError as error:
            found[photo.name] = str(error)[:500]
    return found


def check_as_counted(told: Told, file: bytes, counter: Counter) -> None:
    """The answer of `Counter.count`, or a refusal where it refuses."""
    try:
        expected = json.loads(counter.count(file).to_json())
    except PhotoError:
        check_error(told)
        return
    assert told.status == 200, told
    for field in ("count", "probabilities", "expected_count", "counts", "abstain"):
        assert told.plain().get(field) == expected.get(field), field


def test_photos_of_every_kind_are_counted_right(client: Client, counter: Counter) -> None:
    def check(photo: Strange) -> None:
        told = client.count(photo.file, photo.kind)
        check_as_counted(told, photo.file, counter)
        assert told.plain()["count"] == COUNT

    assert wrong(strange.readable(), check) == {}


def test_what_can_not_be_counted_is_refused_clearly(client: Client) -> None:
    assert wrong(strange.refused(), lambda photo: check_error(client.count(photo.file, photo.kind))) == {}


def test_every_other_door_says_the_same(client: Client) -> None:
    def in_json(photo: Strange) -> None:
        body = json.dumps({"image": base64.b64encode(photo.file).decode()}).encode()
        check_error(client.ask("POST", "/invocations", body, Content_Type="application/json"))

    def in_a_form(photo: Strange) -> None:
        body = b'--b\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n%s\r\n--b--\r\n'
        kind = "multipart/form-data; boundary=b"
        check_error(client.ask("POST", "/v1/counts", body % photo.file, Content_Type=kind))

    def in_an_overlay(photo: Strange) -> None:
        check_error(client.ask("POST", "/v1/overlay", photo.file, Content_Type=photo.kind))

    for door in (in_json, in_a_form, in_an_overlay):
        assert wrong(strange.refused(), door) == {}, door.__name__


@pytest.mark.parametrize(
    "whole",
    [saved(SCENE, "JPEG"), saved(SCENE, "JPEG", progressive=True), saved(SCENE, "PNG"), saved(SCENE, "WEBP")],
    ids=["JPEG", "progressive JPEG", "PNG", "WebP"],
)
def test_a_photo_that_ends_too_early_is_refused_or_whole(client: Client, counter: Counter, whole: bytes) -> None:
    statuses = []
    for share in range(0, 100, 5):
        told = client.count(whole[: len(whole) * share // 100])
        check_as_counted(told, whole[: len(whole) * share // 100], counter)
        statuses.append(told.status)
    assert statuses[:18] == [400] * 18
    assert client.count(whole).status == 200


@pytest.fixture(scope="module")
def cornered(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle, but its network looks at the left half of the top quarter only: it sees how a photo lies."""
    folder = shutil.copytree(bundle, tmp_path_factory.mktemp("cornered") / "tiny")
    model = onnx.load(str(folder / MODEL))
    graph = model.graph
    _, height_px, width_px, _ = (size.dim_value for size in graph.input[0].type.tensor_type.shape.dim)
    bounds = {"first": [0, 0], "last": [height_px // 4, width_px // 2], "sides": [1, 2]}
    graph.initializer.extend(numpy_helper.from_array(np.array(at, np.int64), name) for name, at in bounds.items())
    seen = next(place for place, node in enumerate(graph.node) if "mean_n" in node.output)
    graph.node[seen].input[0] = "corner"
    graph.node.insert(seen, helper.make_node("Slice", ["x_nhwc", *bounds], ["corner"]))
    onnx.save(model, str(folder / MODEL))
    return recard(folder)


def test_photos_that_lie_on_their_side_are_counted_like_upright_ones(
    cornered: Path, samples: Path, tmp_path: Path
) -> None:
    grey = np.full((64, 96), DARKEST, np.uint8)
    grey[:16, :48] = DARKEST + STEP * 5
    upright = Image.fromarray(grey).convert("RGB")
    turn = Image.Transpose
    lying = {
        1: None, 2: turn.FLIP_LEFT_RIGHT, 3: turn.ROTATE_180, 4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE, 6: turn.ROTATE_90, 7: turn.TRANSVERSE, 8: turn.ROTATE_270,
    }  # fmt: skip
    with Watched(cornered, state=tmp_path, samples=samples, threads=1) as served:
        served.start()
        with served.client() as client:
            for kind in ("JPEG", "PNG", "WEBP"):
                stored = {tag: upright if each is None else upright.transpose(each) for tag, each in lying.items()}
                told = {
                    tag: client.count(saved(image, kind, exif=exif(tag).tobytes())) for tag, image in stored.items()
                }
                assert {tag: each.plain()["count"] for tag, each in told.items()} == dict.fromkeys(lying, 5)
                wrongly = client.count(saved(stored[6], kind))
                assert wrongly.plain()["count"] != 5, "what lies on its side and does not say so is seen as it lies"


def test_the_photo_that_takes_the_most_memory_takes_a_bounded_amount(served: Watched, client: Client) -> None:
    before_mb = served.held().resident_mb
    served.forget_peak()
    assert client.count(strange.webp_of_one_colour(7000, 7000)).status == 200
    assert served.peak_mb() - before_mb < ONE_PHOTO_MB
    assert served.held().resident_mb - before_mb < KEPT_MB


@pytest.mark.soak
def test_rounds_of_strange_photos_hold_no_more_memory_than_the_first(served: Watched, client: Client) -> None:
    photos = [*strange.readable(), *strange.refused(), *strange.large()]
    before_mb = served.held().resident_mb
    held_mb = []
    for _ in range(10):
        served.forget_peak()
        for photo in photos:
            assert client.count(photo.file, photo.kind).status < 500, photo.name
        held_mb.append(served.held().resident_mb)
        assert served.peak_mb() - before_mb < ONE_PHOTO_MB + KEPT_MB
    assert max(held_mb) - before_mb < KEPT_MB
    assert max(held_mb[5:]) - max(held_mb[:5]) < 50
