"""How a file becomes an image: the one place where photo bytes are opened, limited and turned upright."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from bintally.errors import PhotoError
from bintally.photo_structure import check_structure

FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""What is taken for a photo; Pillow alone would also start Ghostscript on PostScript."""

_MAGIC: Final = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"II*\0", b"MM\0*", b"GIF8")
_ORIENTATION: Final = 0x0112  # EXIF; 5-8 lie on their side

PHOTO_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
"""What a photo's name ends in, lower case, where a folder is looked through."""

_BROKEN: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    EOFError,
    LookupError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders raise on damaged bytes (tests/counting/test_decode.py damages many)."""

MAX_PIXELS: Final = 50_000_000
"""A photo with more is refused before it is decoded: no bin camera has 50 megapixels, decompression bombs do."""

MOST_SIDE_PX: Final = 65_535
"""As a JPEG has at most. A PNG of 50 million pixels in one row took 2.3 GB and 11 s to be scaled."""

# Judged below, by our own limit. Set once: `catch_warnings` around each photo would not be safe in decode threads.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def read_photo(path: Path) -> bytes:
    """A photo file's bytes.

    Raises:
        PhotoError: there is no such file, or it can't be read.
    """
    try:
        if not path.is_file():  # a folder, or a device such as /dev/zero that never ends
            raise PhotoError(f"There is no photo {path}.", hint="Look at the path.")
        return path.read_bytes()
    except OSError as error:
        raise PhotoError(f"{path} can't be read: {error.strerror}.", hint="Look at its permissions.") from error


class Header(NamedTuple):
    """What a photo says of itself: the encoder's name as in `FORMATS`, and its full size when upright."""

    format: str
    width_px: int
    height_px: int


def open_image(
    photo: bytes,
    *,
    draft_px: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
    turn: Callable[[int], AbstractContextManager[object]] = nullcontext,
) -> Image.Image:
    """An RGB image, upright (EXIF), fully decoded.

    `draft_px` (width, height) lets a JPEG decode at a half, quarter or eighth of its size, but not below that size.
    `turn`: given how many pixels the photo claims, what is held while they are decoded.

    Raises:
        PhotoError: empty, no image, truncated, or too large; the sentence and `reason` say which.
    """
    return decode(photo, draft_px=draft_px, max_pixels=max_pixels, turn=turn)[0]


def decode(
    photo: bytes,
    *,
    draft_px: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
    turn: Callable[[int], AbstractContextManager[object]] = nullcontext,
) -> tuple[Image.Image, Header]:
    """`open_image`, with the header beside it (sizes are those before `draft_px`).

    Raises:
        PhotoError: as `open_image`.
    """
    with _photo_errors(photo):
        image = _opened(photo, max_pixels)
        width_px, height_px = image.size
        with turn(width_px * height_px):
            orientation = image.getexif().get(_ORIENTATION, 1)  # which decodes a PNG
            if draft_px:
                image.draft("RGB", draft_px)
            image.load()
            # A copy of a photo that is upright and RGB would only take time and memory.
            turned = _rgb(image if orientation == 1 else ImageOps.exif_transpose(image))
        if orientation in (5, 6, 7, 8):
            width_px, height_px = height_px, width_px
        return turned, Header("JPEG" if image.format == "MPO" else str(image.format), width_px, height_px)


def upright(image: Image.Image) -> Image.Image:
    """What `open_image` makes of a photo's file, of an image that somebody else has opened.

    Raises:
        PhotoError: what it was opened from is damaged.
    """
    try:
        return _rgb(ImageOps.exif_transpose(image))
    except _BROKEN as error:
        raise _undecodable(error) from error


def _opened(photo: bytes, max_pixels: int) -> Image.Image:
    check_structure(photo)
    image = Image.open(io.BytesIO(photo), formats=FORMATS)
    if max(image.size) > MOST_SIDE_PX:
        raise PhotoError(
            f"The photo claims {image.width} x {image.height} px, and a side has {MOST_SIDE_PX} at most.",
            hint="Save it anew and send that.",
            reason="too_large",
        )
    if image.width * image.height > max_pixels:
        raise _too_large(f"{image.width} x {image.height} px", max_pixels)
    return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16"):  # Pillow cuts off all above 255, so that every such photo came out white
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


@contextmanager
def _photo_errors(photo: bytes) -> Iterator[None]:
    """What Pillow raises, as our own errors."""
    if not photo:
        raise PhotoError("The photo is empty (0 bytes).", hint="Fetch or take it again.", reason="empty")
    try:
        yield
    except PhotoError:
        raise
    except UnidentifiedImageError:
        raise _unidentified(photo) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large("more pixels than any camera has", MAX_PIXELS) from None
    except _BROKEN as error:
        raise _undecodable(error) from error


def _undecodable(error: Exception) -> PhotoError:
    return PhotoError(
        f"The photo can't be decoded: {error}.",
        hint="Fetch or take it again.",
        reason="truncated" if "truncated" in str(error).lower() else "undecodable",
    )


def _too_large(claim: str, max_pixels: int) -> PhotoError:
    return PhotoError(
        f"The photo claims {claim}, more than {max_pixels / 10**6:g} megapixels.",
        hint="Scale it down first.",
        reason="too_large",
    )


def _unidentified(photo: bytes) -> PhotoError:
    """Bytes that start like a photo are a damaged one; all others are something else."""
    if photo.startswith(_MAGIC):
        return PhotoError("The photo can't be decoded: its header is damaged.", hint="Fetch or take it again.")
    return PhotoError(
        "This is not a photo.", hint="JPEG, PNG, WebP, BMP, TIFF and GIF can be read.", reason="not_a_photo"
    )
