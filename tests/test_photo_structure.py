"""Files of many small parts are refused at once; whatever a camera or an encoder writes is let through."""

import io
import re
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bintally.errors import PhotoError
from bintally.photo_structure import (
    MOST_CHUNKS,
    MOST_SCANNED_PIXELS,
    MOST_SEGMENTS,
    MOST_STRAY_BYTES,
    check_structure,
)
from tests.bundles import bin_photo


def saved(width_px: int, height_px: int, kind: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("L", (width_px, height_px), 130).save(file, kind, **options)
    return file.getvalue()


def segment(marker: int, data: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def jpeg_with(*parts: bytes) -> bytes:
    photo = saved(80, 60)
    return photo[:2] + b"".join(parts) + photo[2:]


def chunk(kind: bytes) -> bytes:
    return struct.pack(">I", 0) + kind + struct.pack(">I", zlib.crc32(kind))


def scans(photo: bytes, more: int) -> bytes:
    """The last scan comes so many times more."""
    return photo[:-2] + photo[photo.rindex(b"\xff\xda") : -2] * more + photo[-2:]


def refusal(photo: bytes) -> str:
    with pytest.raises(PhotoError) as caught:
        check_structure(photo)
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize(
    "photo",
    [
        b"",
        b"hello",
        bin_photo(3, image_format="JPEG"),
        bin_photo(3, image_format="PNG"),
        bin_photo(3, image_format="WEBP"),
        saved(80, 60, progressive=True),
        saved(80, 60, restart_marker_blocks=1),
        saved(2000, 2000, "PNG"),
        jpeg_with(*[segment(0xE2, b"ICC_PROFILE\0" + bytes(65_000))] * 320),
        jpeg_with(segment(0xE1, b"Exif\0\0" + scans(saved(80, 60, progressive=True), 3000))),
        saved(80, 60) + b"\xff\xda" * 3000,
        scans(saved(80, 60, progressive=True), 1000),
    ],
    ids=[
        "nothing", "text", "JPEG", "PNG", "WebP", "progressive", "restarts", "large PNG", "large profile",
        "scans of a thumbnail", "scans behind the end", "1000 scans of a small photo",
    ],
)  # fmt: skip
def test_what_is_not_out_of_all_proportion_is_let_through(photo: bytes) -> None:
    check_structure(photo)


@pytest.mark.parametrize(
    "photo",
    [
        jpeg_with(segment(0xEE) * (MOST_SEGMENTS + 1)),
        jpeg_with(segment(0xE1, b"Exif\0\0 ") * (MOST_SEGMENTS + 1)),
        jpeg_with(b"\xff" * (MOST_STRAY_BYTES + 1)),
        jpeg_with(b"\xff\0" * MOST_STRAY_BYTES),
        jpeg_with(b"\xff\xd8" * MOST_STRAY_BYTES),
        jpeg_with(b"\xff\xd9" * (MOST_SEGMENTS + 1)),
    ],
    ids=["segments", "EXIF", "filler", "zeros", "beginnings", "ends"],
)
def test_a_jpeg_that_never_comes_to_its_picture_is_refused(photo: bytes) -> None:
    assert "before its picture" in refusal(photo)


@pytest.mark.parametrize("kind", [b"IDAT", b"abCd"])
def test_a_png_of_many_chunks_is_refused(kind: bytes) -> None:
    photo = saved(80, 60, "PNG")
    assert "pieces" in refusal(photo[:-12] + chunk(kind) * MOST_CHUNKS + photo[-12:])
    check_structure(photo + chunk(kind) * MOST_CHUNKS)  # behind its end, nobody looks


@pytest.mark.parametrize("side_px", [1024, 7000])
def test_as_many_scans_are_let_through_as_are_gone_through_in_a_moment(side_px: int) -> None:
    photo = saved(side_px, side_px, progressive=True)
    most = MOST_SCANNED_PIXELS // side_px**2
    there = len(re.findall(b"\xff\xda", photo))
    check_structure(scans(photo, most - there))
    assert "scans" in refusal(scans(photo, most - there + 1))


@given(st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]))
def test_any_bytes_are_let_through_or_refused(data: bytes, start: bytes) -> None:
    check_structure(start + data)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=12), st.booleans())
def test_no_damage_breaks_the_look_at_it(damage: list[tuple[int, int]], is_progressive: bool) -> None:
    photo = bytearray(saved(80, 60, progressive=is_progressive))
    for place, value in damage:
        photo[place % len(photo)] = value
    check_structure(bytes(photo))
