"""Empty frames are told from dark bins."""

import numpy as np
import pytest
from numpy.typing import NDArray

from bintally.counting.decode import decode
from bintally.counting.frames import empty_frames
from tests.bundles import bin_pixels
from tests.conftest import shared_dir


def _noise(mean: float, spread: float) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).normal(mean, spread, (32, 48, 3))
    return np.clip(noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("pixels_hwc", "reason"),
    [
        (_noise(0, 0), "black frame"),
        (_noise(10, 4), "black frame"),  # a sensor's noise in the dark
        (_noise(128, 0), "blank frame"),
        (_noise(255, 0), "blank frame"),
        (_noise(180, 2), "blank frame"),  # a covered lens
        (_noise(45, 20), None),  # as dark as the darkest of 13,922 real photos (mean luma 41, spread 11)
        (bin_pixels(3), None),
    ],
)
def test_says_what_is_wrong_with_a_frame(pixels_hwc: NDArray[np.uint8], reason: str | None) -> None:
    assert empty_frames(pixels_hwc[None]) == [reason]


def test_one_bright_pixel_does_not_save_a_black_frame() -> None:
    pixels_hwc = _noise(0, 0)
    pixels_hwc[4:6, 4:6] = 255
    assert empty_frames(pixels_hwc[None]) == ["black frame"]


def test_a_batch_is_judged_photo_by_photo() -> None:
    assert empty_frames(np.stack([_noise(0, 0), _noise(100, 30)])) == ["black frame", None]
    assert empty_frames(np.empty((0, 32, 48, 3), np.uint8)) == []


def test_no_real_bin_is_taken_for_an_empty_frame() -> None:
    photos = sorted(shared_dir("abid/native").glob("*.jpg"))
    pixels_nhwc = np.stack([decode(photo.read_bytes(), height_px=96, width_px=96) for photo in photos])
    assert len(photos) == 100
    assert empty_frames(pixels_nhwc) == [None] * 100
