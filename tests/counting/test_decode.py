"""Photos become pixels one way only, and damaged ones become a PhotoError, whatever the damage."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bintally.counting.decode import decode, to_pixels
from bintally.errors import PhotoError
from tests.bundles import bin_photo, bin_pixels
from tests.conftest import shared_dir

FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"]


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_format_comes_out_the_same(image_format: str) -> None:
    pixels_hwc = decode(bin_photo(3, image_format=image_format), height_px=32, width_px=48)
    assert pixels_hwc.shape == (32, 48, 3)
    assert pixels_hwc.dtype == np.uint8
    assert abs(pixels_hwc.mean() - bin_pixels(3).mean()) < 2


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    buffer = io.BytesIO()
    grey = Image.fromarray(bin_pixels(4)).convert("L")
    Image.new(mode, grey.size).save(buffer, "TIFF") if mode == "I;16" else grey.convert(mode).save(
        buffer, "TIFF" if mode == "CMYK" else "PNG"
    )
    assert decode(buffer.getvalue(), height_px=32, width_px=48).shape == (32, 48, 3)


def test_a_photo_lying_on_its_side_is_put_upright() -> None:
    pixels_hwc = np.zeros((40, 40, 3), np.uint8)
    pixels_hwc[:20] = 255  # bright above
    exif = Image.Exif()
    exif[0x0112] = 3  # EXIF orientation: rotated by 180 degrees
    buffer = io.BytesIO()
    Image.fromarray(pixels_hwc).save(buffer, "JPEG", exif=exif)
    upright_hwc = decode(buffer.getvalue(), height_px=40, width_px=40)
    assert upright_hwc[:18].mean() < 5
    assert upright_hwc[22:].mean() > 250


def test_decoding_a_jpeg_at_a_reduced_size_shows_the_same_picture() -> None:
    gradient = np.linspace(0, 255, 1600)[None, :, None] + np.zeros((1200, 1, 3))
    buffer = io.BytesIO()
    Image.fromarray(gradient.astype(np.uint8)).save(buffer, "JPEG", quality=95)
    reduced_hwc = decode(buffer.getvalue(), height_px=64, width_px=64)
    whole_hwc = to_pixels(Image.open(buffer).convert("RGB"), height_px=64, width_px=64)
    assert np.abs(reduced_hwc.astype(int) - whole_hwc).max() <= 3


def test_real_photos_decode_alike_at_full_and_at_reduced_size() -> None:
    for path in sorted(shared_dir("abid/native").glob("*.jpg"))[:10]:
        reduced_hwc = decode(path.read_bytes(), height_px=96, width_px=96)
        whole_hwc = to_pixels(Image.open(path).convert("RGB"), height_px=96, width_px=96)
        assert np.abs(reduced_hwc.astype(int) - whole_hwc).mean() < 1.5, path


@pytest.mark.parametrize(
    ("photo", "told"),
    [
        (b"", "empty"),
        (b"not a photo, but long enough to be looked at", "not a photo"),
        (bin_photo(3, image_format="JPEG")[:-300], "can't be decoded"),
        (bin_photo(3, image_format="PNG")[:-300], "can't be decoded"),
    ],
)
def test_says_what_is_wrong_with_a_photo(photo: bytes, told: str) -> None:
    with pytest.raises(PhotoError, match=told) as caught:
        decode(photo, height_px=32, width_px=48)
    assert caught.value.hint


@pytest.mark.parametrize("side_px", [8_000, 12_000, 16_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side_px: int) -> None:
    # 64, 144 and 256 megapixels: below Pillow's own limit, where it warns, and where it refuses by itself.
    buffer = io.BytesIO()
    Image.new("1", (side_px, side_px)).save(buffer, "PNG")
    with pytest.raises(PhotoError, match="megapixels"):
        decode(buffer.getvalue(), height_px=32, width_px=48)


# Pillow warns about damaged EXIF and TIFF tags before it decodes or refuses; here the answer is what counts.
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FORMATS), st.data())
def test_any_damage_gives_pixels_or_a_photo_error_and_nothing_else(image_format: str, data: st.DataObject) -> None:
    photo = bytearray(bin_photo(3, image_format=image_format))
    for _ in range(data.draw(st.integers(1, 8))):
        photo[data.draw(st.integers(0, len(photo) - 1))] = data.draw(st.integers(0, 255))
    photo = photo[: data.draw(st.integers(1, len(photo)))]
    try:
        pixels_hwc = decode(bytes(photo), height_px=32, width_px=48)
    except PhotoError:
        return
    assert pixels_hwc.shape == (32, 48, 3)
