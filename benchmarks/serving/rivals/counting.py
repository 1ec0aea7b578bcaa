"""What every rival counts with: the same bundle, decoding and network as ours, `THREADS` to an inference."""

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from bintally.counting.counter import Counter
from bintally.counting.decode import decode, to_pixels

WORKERS = int(os.environ["WORKERS"])
THREADS = int(os.environ["THREADS"])
MAX_BATCH = int(os.environ["MAX_BATCH"])
PORT = int(os.environ["PORT"])
ORIENTATION = 0x0112  # EXIF


def load() -> Counter:
    """The model."""
    return Counter(os.environ["BUNDLE"], threads=THREADS)


def pixels_of(counter: Counter, photo: bytes) -> NDArray[np.uint8]:
    """A photo at the model's size: uint8 [H, W, 3]."""
    return decode(photo, height_px=counter.card.height_px, width_px=counter.card.width_px)


def pixels_of_image(counter: Counter, image: Image.Image) -> NDArray[np.uint8]:
    """The same of a photo that a framework has opened, but not decoded: uint8 [H, W, 3]."""
    height_px, width_px = counter.card.height_px, counter.card.width_px
    image.draft("RGB", (2 * width_px, 2 * height_px))
    upright = image if image.getexif().get(ORIENTATION, 1) == 1 else ImageOps.exif_transpose(image)
    return to_pixels(upright.convert("RGB"), height_px=height_px, width_px=width_px)


def count(counter: Counter, pixels: Sequence[NDArray[np.uint8]]) -> list[str]:
    """The answers, as JSON."""
    return [estimate.to_json() for estimate in counter.count_pixels(np.stack(pixels))]
