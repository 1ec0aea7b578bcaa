"""What callers have for a photo -> the bytes that are sent."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from bintally.errors import UsageError
from bintally.serving.photo_check import media_type_of

if TYPE_CHECKING:
    from PIL.Image import Image

Photo: TypeAlias = "Path | str | bytes | Image"
"""A photo's path, its file's bytes, or an image of Pillow's."""


def bytes_of(photo: Photo) -> bytes:
    """The bytes to send; an image is sent as PNG, so that nothing is lost.

    Raises:
        UsageError: it is none of `Photo`.
        PhotoError: there is no such file, or it can't be read; an image's file is damaged.
    """
    if isinstance(photo, (bytes, bytearray, memoryview)):
        return bytes(photo)
    if isinstance(photo, str) and photo.startswith(("http://", "https://")):
        raise UsageError("A URL is no path.", hint="Have it counted with count_url, or fetch it first.")
    if isinstance(photo, (str, Path)):
        from bintally.photos import read_photo  # Pillow is not needed for bytes

        return read_photo(Path(photo))
    if hasattr(photo, "save") and hasattr(photo, "mode"):
        return _png(photo)
    raise UsageError(f"A {type(photo).__name__} is no photo.", hint="Give a path, a file's bytes or a Pillow image.")


def content_type_of(photo: bytes) -> str:
    """By its first bytes; what is no photo is called a JPEG, and the service says what is wrong with it."""
    return media_type_of(photo) or "image/jpeg"


def _png(image: "Image") -> bytes:
    from bintally.photos import upright

    buffer = io.BytesIO()
    upright(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
