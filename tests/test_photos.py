import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bintally.errors import PhotoError
from bintally.photos import MAX_PIXELS, decode, open_image, read_photo, upright
from tests.data.bin_folder import draw_photo, encoded

PHOTO = draw_photo(7)
JPEG, PNG, PROGRESSIVE = encoded(PHOTO), encoded(PHOTO, "PNG"), encoded(PHOTO, progressive=True)

# What Pillow says about damaged EXIF and TIFF tags; the pixels are judged all the same.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def turned(orientation: int) -> bytes:
    """EXIF that says how a photo lies."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def refusal(photo: bytes) -> PhotoError:
    with pytest.raises(PhotoError) as caught:
        open_image(photo)
    assert caught.value.hint
    return caught.value


def png_claiming(width: int, height: int) -> bytes:
    """A decompression bomb's header: any size costs 60 bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_each_format_becomes_rgb_of_its_full_size(kind: str) -> None:
    image, header = decode(encoded(PHOTO, kind))
    assert (image.mode, image.size) == ("RGB", PHOTO.size)
    assert header == (kind, *PHOTO.size)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "I;16"])
def test_each_mode_becomes_rgb(mode: str) -> None:
    grey_first = PHOTO.convert("L") if mode == "I;16" else PHOTO
    assert open_image(encoded(grey_first.convert(mode), "PNG")).mode == "RGB"


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_photo_of_16_bits_is_as_bright_as_it_was(kind: str) -> None:
    """Pillow cuts off all above 255: such photos once came out white, and were counted as full bins."""
    grey_hw = np.asarray(PHOTO.convert("L"))
    image = open_image(encoded(Image.fromarray(grey_hw.astype(np.uint16) * 257), kind))
    assert np.array_equal(np.asarray(image)[..., 0], grey_hw)


def test_no_bytes_are_called_empty() -> None:
    assert refusal(b"").reason == "empty"


@pytest.mark.parametrize(
    "data", [b"%PDF-1.7\n", b"hello", b"<html>", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\0" * 100, b"\xff\xd8"]
)
def test_what_is_no_photo_is_called_so_and_no_other_program_is_started_for_it(data: bytes) -> None:
    assert refusal(data).reason == "not_a_photo"


@pytest.mark.parametrize("side_px", [8_000, 20_000, 100_000])
def test_a_decompression_bomb_is_refused_by_its_header(side_px: int) -> None:
    assert side_px**2 > MAX_PIXELS
    assert refusal(png_claiming(side_px, side_px)).reason == "too_large"


def test_a_limit_of_pixels_and_a_turn_are_asked_before_anything_is_decoded() -> None:
    claimed: list[int] = []

    @contextmanager
    def turn(pixels: int) -> Iterator[None]:
        claimed.append(pixels)
        yield

    open_image(JPEG, turn=turn)
    assert claimed == [PHOTO.width * PHOTO.height]
    with pytest.raises(PhotoError, match=r"more than 0\.5 megapixels") as error:
        open_image(png_claiming(1000, 501), max_pixels=500_000, turn=turn)
    assert error.value.reason == "too_large"
    with pytest.raises(PhotoError):
        open_image(png_claiming(7000, 7000), turn=turn)  # claims pixels that are not there
    assert claimed == [PHOTO.width * PHOTO.height, 49_000_000]


def test_an_upright_photo_and_one_that_was_turned_have_the_same_pixels() -> None:
    """One that is upright is handed on as it is decoded, without the copies that turning makes."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(PHOTO.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)
    assert open_image(turned).tobytes() == open_image(encoded(PHOTO, "PNG")).tobytes() == PHOTO.tobytes()


def test_a_missing_file_and_a_folder_are_no_photos(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jpg", tmp_path):
        with pytest.raises(PhotoError):
            read_photo(path)


@pytest.mark.parametrize("photo", [JPEG, PNG, PROGRESSIVE], ids=["jpeg", "png", "progressive"])
@pytest.mark.parametrize("share", [0.001, 0.05, 0.3, 0.6, 0.95])
def test_a_photo_that_ends_too_early_is_refused(photo: bytes, share: float) -> None:
    assert refusal(photo[: int(len(photo) * share)]).reason in {"truncated", "undecodable"}


WHOLE = {photo: open_image(photo).tobytes() for photo in (JPEG, PNG, PROGRESSIVE)}


@given(st.sampled_from([JPEG, PNG, PROGRESSIVE]), st.integers(0, 10**6))
def test_a_photo_cut_anywhere_is_refused_or_whole(photo: bytes, cut: int) -> None:
    try:
        image = open_image(photo[: cut % len(photo)])
    except PhotoError:
        return
    assert image.tobytes() == WHOLE[photo]


FORMATS = {kind: encoded(PHOTO.resize((64, 60)), kind) for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")}


@given(
    st.sampled_from(sorted(FORMATS)),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=12),
    st.booleans(),
)
def test_damaged_bytes_end_in_an_image_or_a_photo_error_and_nothing_else(
    kind: str, damage: list[tuple[int, int]], in_header: bool
) -> None:
    photo = bytearray(FORMATS[kind])
    for place, value in damage:
        photo[place % (min(len(photo), 120) if in_header else len(photo))] = value
    try:
        assert open_image(bytes(photo), draft_px=(32, 32)).mode == "RGB"
    except PhotoError as error:
        assert error.reason in {"empty", "not_a_photo", "too_large", "truncated", "undecodable"}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright_and_their_sizes_with_them(orientation: int) -> None:
    image, header = decode(encoded(PHOTO, exif=turned(orientation)), draft_px=(100, 100))
    lying = orientation in (5, 6, 7, 8)
    assert (header.width_px, header.height_px) == (PHOTO.size[::-1] if lying else PHOTO.size)
    assert (image.width > image.height) != lying  # PHOTO is wider than high


@pytest.mark.parametrize(
    "photo",
    [
        JPEG,
        encoded(PHOTO, exif=turned(6)),
        encoded(Image.fromarray(np.asarray(PHOTO.convert("L")).astype(np.uint16) * 257), "PNG"),
    ],
    ids=["plain", "on its side", "16 bits"],
)
def test_an_image_that_was_opened_elsewhere_is_what_its_file_is(photo: bytes) -> None:
    """`Image.open(path)` was once counted on its side, or white, where the path was not."""
    opened = upright(Image.open(io.BytesIO(photo)))
    assert np.array_equal(np.asarray(opened), np.asarray(open_image(photo)))


def test_an_image_of_a_truncated_file_is_a_photo_error() -> None:
    with pytest.raises(PhotoError, match="truncated"):
        upright(Image.open(io.BytesIO(JPEG[:2000])))


def test_draft_decodes_a_jpeg_smaller_but_never_below_the_size_asked_for() -> None:
    large = encoded(draw_photo(1, size_px=(1200, 900)))
    image = open_image(large, draft_px=(224, 224))
    assert image.width < 1200
    assert min(image.size) >= 224


def test_a_truncated_photo_keeps_its_cause_for_those_who_look_closer() -> None:
    error = refusal(JPEG[:2000])
    assert isinstance(error.__cause__, OSError)


def test_a_name_that_no_file_can_have_is_a_photo_error() -> None:
    """A line of 5,000 characters in a list once ended the whole run."""
    with pytest.raises(PhotoError, match="can't be read: File name too long"):
        read_photo(Path("x" * 5000))
