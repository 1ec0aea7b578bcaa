"""What a photo's file is put together of, looked at before a decoder is: some small files keep one busy for hours.

Pillow reads the parts of a file one by one in Python, and joins EXIF segments by copying all of those before; libjpeg
goes through the whole picture once for each scan. So 20 MB of tiny parts took 16 s, of tiny EXIF segments minutes, of
tiny scans over 49 megapixels two hours, and nothing can stop a decoder once it is at work.
"""

import re
from typing import Final, NamedTuple

from bintally.errors import PhotoError

MOST_SEGMENTS: Final = 1_000
"""Of a JPEG, before its picture; a colour profile or EXIF of 20 MB has 320."""

MOST_CHUNKS: Final = 10_000
"""Of a PNG; 20 MB in the 8 kB that libpng writes at a time are 2,500."""

MOST_STRAY_BYTES: Final = 64 * 1024
"""Of a JPEG, between the segments before its picture; there should be none."""

MOST_SCANNED_PIXELS: Final = 2**30
"""Pixels times scans of a JPEG: 20 scans of 50 megapixels (libjpeg writes 10). Going through takes some 2 s."""

_LEAST_PIXELS: Final = 2**20  # what a scan costs in any case: a thousand scans of any photo are enough
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_MARKER: Final = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")  # those that may be followed by a length, and the end
_SCAN, _END = 0xDA, 0xD9
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE: Final = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_CHUNK_BYTES: Final = 12  # of length, name and checksum


class _Frame(NamedTuple):
    """How large a JPEG's picture is, in how many colours, and whether it comes bit by bit."""

    pixels: int
    colours: int
    is_progressive: bool

    @classmethod
    def at(cls, photo: bytes, at: int, kind: int) -> "_Frame":
        height, width = int.from_bytes(photo[at + 3 : at + 5]), int.from_bytes(photo[at + 5 : at + 7])
        return cls(height * width, _byte(photo, at + 7), kind in _PROGRESSIVE)


def check_structure(photo: bytes) -> None:
    """Lets through what a decoder reads in a moment, as far as that depends on how the file is put together.

    Raises:
        PhotoError: a JPEG or PNG that it would not.
    """
    if photo.startswith(_JPEG):
        _check_jpeg(photo)
    elif photo.startswith(_PNG):
        _check_chunks(photo)


def _check_jpeg(photo: bytes) -> None:
    at, stray_bytes = len(_JPEG) - 1, 0
    frame = _Frame(0, 0, False)
    for _ in range(MOST_SEGMENTS):
        marker = _MARKER.search(photo, at)
        if marker is None:
            return
        stray_bytes += marker.start() - at
        if stray_bytes > MOST_STRAY_BYTES:
            break
        kind, at = photo[marker.start() + 1], marker.end()
        if kind == _SCAN:
            _check_scans(photo, at, frame)
            return
        if kind in _FRAMES:
            frame = _Frame.at(photo, at, kind)
        if kind != _END:  # here, decoders read over it
            at += _segment_bytes(photo, at)
    raise _unusual("more stands before its picture than any camera writes")


def _check_scans(photo: bytes, at: int, frame: _Frame) -> None:
    """`at`: behind the marker of the first scan. Where that has all the colours, decoders look for no other."""
    if not frame.is_progressive and _byte(photo, at + 2) == frame.colours:
        return
    most = MOST_SCANNED_PIXELS // max(frame.pixels, _LEAST_PIXELS)
    scans = 1
    while scans <= most:
        marker = _MARKER.search(photo, at)
        if marker is None or photo[marker.start() + 1] == _END:
            return
        scans += photo[marker.start() + 1] == _SCAN
        at = marker.end() + _segment_bytes(photo, marker.end())
    raise _unusual(f"its picture comes in more than {most} scans")


def _check_chunks(photo: bytes) -> None:
    at = len(_PNG)
    for _ in range(MOST_CHUNKS):
        if at >= len(photo) or photo[at + 4 : at + 8] == b"IEND":
            return
        at += _CHUNK_BYTES + int.from_bytes(photo[at : at + 4])
    raise _unusual(f"it is in more than {MOST_CHUNKS} pieces")


def _segment_bytes(photo: bytes, at: int) -> int:
    return max(int.from_bytes(photo[at : at + 2]), 2)


def _byte(photo: bytes, at: int) -> int:
    return photo[at] if at < len(photo) else 0


def _unusual(what: str) -> PhotoError:
    return PhotoError(f"The photo is put together like no other: {what}.", hint="Save it anew and send that.")
