"""The one way a photo becomes a network's pixels: training's cache, evaluation, the CLI and the service all call it.

Shapes: pixels_hwc uint8 [H, W, 3], RGB.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bintally.photos import MAX_PIXELS, open_image


def decode(
    photo: bytes,
    *,
    height_px: int,
    width_px: int,
    max_pixels: int = MAX_PIXELS,
    turn: Callable[[int], AbstractContextManager[object]] = nullcontext,
) -> NDArray[np.uint8]:
    """A photo's bytes as uint8 [H, W, 3], squashed to the size (part of ABID can only be had that way).

    A JPEG is decoded at a reduced size where that still leaves twice the wanted pixels: the same picture, faster.
    `max_pixels`, `turn` as in `photos.open_image`.

    Raises:
        PhotoError: not a photo, truncated, or too large.
    """
    draft_px = (2 * width_px, 2 * height_px)
    image = open_image(photo, draft_px=draft_px, max_pixels=max_pixels, turn=turn)
    return to_pixels(image, height_px=height_px, width_px=width_px)


def to_pixels(image: Image.Image, *, height_px: int, width_px: int) -> NDArray[np.uint8]:
    """An RGB image as uint8 [H, W, 3], squashed to the size."""
    return np.asarray(image.resize((width_px, height_px), Image.Resampling.BICUBIC))
