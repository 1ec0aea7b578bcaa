import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter

from bintally.data.quality import dhash, measure
from bintally.errors import PhotoError
from tests.conftest import shared_dir
from tests.data.bin_folder import draw_photo, encoded


@given(st.integers(0, 255))
def test_a_flat_photo_has_its_own_brightness_no_sharpness_and_an_empty_hash(luma: int) -> None:
    quality = measure(encoded(Image.new("L", (300, 260), luma), "PNG"))
    assert tuple(quality) == ("PNG", 300, 260, pytest.approx(luma, abs=0.5), pytest.approx(0, abs=1e-3), 0)


def test_sizes_are_those_of_the_file_and_not_of_the_reduced_decoding() -> None:
    quality = measure(encoded(draw_photo(0, size_px=(1000, 900))))
    assert (quality.width_px, quality.height_px) == (1000, 900)


def test_blur_takes_sharpness_down_step_by_step() -> None:
    photo = draw_photo(1)
    sharpness = [measure(encoded(photo.filter(ImageFilter.GaussianBlur(radius)))).sharpness for radius in (0, 1, 3, 9)]
    assert sharpness == sorted(sharpness, reverse=True)
    assert sharpness[0] > 20 * sharpness[-1]


def test_less_light_takes_brightness_down_in_proportion() -> None:
    photo = draw_photo(2)
    full, third = (measure(encoded(ImageEnhance.Brightness(photo).enhance(light))) for light in (1.0, 1 / 3))
    assert third.brightness == pytest.approx(full.brightness / 3, rel=0.05)


@pytest.mark.parametrize("seed", range(6))
def test_a_reencoded_photo_keeps_its_hash_and_another_photo_has_another(seed: int) -> None:
    photo = draw_photo(seed)
    mine = measure(encoded(photo)).dhash
    again = measure(encoded(photo.resize((160, 144)), quality=50)).dhash
    other = measure(encoded(draw_photo(seed + 100))).dhash
    assert (mine ^ again).bit_count() <= 3
    assert (mine ^ other).bit_count() > 10


@given(st.integers(0, 10_000))
def test_hash_bits_stand_row_by_row_for_the_brighter_right_neighbour(seed: int) -> None:
    cells = np.random.default_rng(seed).integers(0, 256, (8, 9), dtype=np.uint8)
    bits = "".join("1" if row[x + 1] > row[x] else "0" for row in cells.tolist() for x in range(8))
    assert dhash(Image.fromarray(cells)) == int(bits, 2)


def test_something_else_is_refused() -> None:
    with pytest.raises(PhotoError):
        measure(b"%PDF-1.7 not a photo")


def test_real_photos_are_in_the_range_the_limits_were_chosen_for() -> None:
    photos = sorted(shared_dir("abid/native").glob("*.jpg"))[:40]
    found = [measure(photo.read_bytes()) for photo in photos]
    assert all(quality.brightness > 40 for quality in found)
    assert sum(quality.sharpness < 6 for quality in found) <= 1
