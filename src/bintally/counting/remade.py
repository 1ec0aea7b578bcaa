"""A photo taken again of a bin that nobody touched: other light, another place of the camera, blur, compression.

Made with Pillow, seeded: the ranges are those that a camera before a row of bins shows, and nothing in the bin changes.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from bintally.counting.counter import Counter
from bintally.counting.decode import decode
from bintally.counting.network import MAX_BATCH, Seen
from bintally.photos import open_image, read_photo
from bintally.progress import Progress

GAMMA: Final = (0.6, 1.6)
SHIFT: Final = 0.06
"""Up to this share of its side is cut off each edge."""

BLUR: Final = 0.004
"""Radius of the blur, up to this share of the shorter side."""

QUALITY: Final = (30, 90)


def remade(image: Image.Image, rng: np.random.Generator) -> bytes:
    """An RGB image as the bytes of another photo, a JPEG, of the same bin with the same things in it."""
    width, height = image.size
    left, top, right, bottom = rng.uniform(0.0, SHIFT, 4) * (width, height, width, height)
    cut = image.crop((round(left), round(top), width - round(right), height - round(bottom)))
    gamma = math.exp(rng.uniform(math.log(GAMMA[0]), math.log(GAMMA[1])))
    lit = cut.point([round(255 * (level / 255) ** gamma) for level in range(256)] * 3)
    blurred = lit.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, BLUR) * min(width, height)))
    buffer = io.BytesIO()
    blurred.save(buffer, "JPEG", quality=int(rng.integers(QUALITY[0], QUALITY[1], endpoint=True)))
    return buffer.getvalue()


def taken_again(
    counter: Counter, photos: Sequence[Path], seed: int, progress: Progress
) -> tuple[Seen, Seen, NDArray[np.float32]]:
    """What is seen of photos, what of the same ones remade (without maps), and the evidence of what changed.

    Raises:
        PhotoError: one can't be read.
    """
    rng = np.random.default_rng(seed)
    before, after, evidence = [], [], []
    with progress.task("retake", total=len(photos), unit="photos") as task:
        for start in range(0, len(photos), MAX_BATCH):
            files = [read_photo(path) for path in photos[start : start + MAX_BATCH]]
            first = _see(counter, files)
            second = _see(counter, [remade(open_image(file), rng) for file in files])
            before.append(first.raw_nk)
            after.append(second.raw_nk)
            evidence.append(counter.network.evidence(first, second))
            task.advance(len(files))
    return _told(before), _told(after), np.concatenate(evidence)


def _see(counter: Counter, photos: Sequence[bytes]) -> Seen:
    card = counter.card
    pixels_nhwc = np.stack([decode(photo, height_px=card.height_px, width_px=card.width_px) for photo in photos])
    return counter.network.see(pixels_nhwc, beside=True)


def _told(raw: Sequence[NDArray[Any]]) -> Seen:
    return Seen(np.concatenate(raw), None, None, None)
