"""A photo's bytes -> the model's pixels, within bounds of memory, whatever the bytes claim."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from bintally.bundle import Card
from bintally.counting.decode import decode
from bintally.serving.engine.waiting import Job

LARGE_PIXELS: Final = 16_000_000
"""A photo with more is decoded while no other such is: at 50 megapixels a WebP takes 770 MB at once, others half."""


class Decoder:
    """Decodes photos for a model; threads share one."""

    def __init__(self, card: Card, *, max_pixels: int) -> None:
        self._card, self._max_pixels = card, max_pixels

    def decode(self, job: Job, large: Callable[[], AbstractContextManager[object]]) -> None:
        """Fills in the pixels, and what they took. `large`: what is held while a large photo is decoded.

        Raises:
            PhotoError: not a photo that can be read, or one of too many pixels.
        """
        started = time.perf_counter()
        job.pixels_hwc = decode(
            job.photo,
            height_px=self._card.height_px,
            width_px=self._card.width_px,
            max_pixels=self._max_pixels,
            turn=lambda pixels: large() if pixels > LARGE_PIXELS else nullcontext(),
        )
        job.decode_ms = 1000 * (time.perf_counter() - started)
