"""Frames that show nothing, told by their pixels alone: no model is needed to see that a lamp was off.

Shapes: pixels_nhwc uint8 [N, H, W, 3], RGB.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

BLACK_BELOW: Final = 40
"""A frame is black when 99% of its luma (0-255) stands below."""

BLANK_BELOW: Final = 4.0
"""A frame is blank (lens covered, wall, overexposed) when its luma's standard deviation stands below."""

_LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_STRIDE: Final = 2  # every other pixel each way says the same in a quarter of the time


def empty_frames(pixels_nhwc: NDArray[np.uint8]) -> list[str | None]:
    """For each photo "black frame", "blank frame", or None where there is something to see."""
    luma_nhw = pixels_nhwc[:, ::_STRIDE, ::_STRIDE].astype(np.float32) @ _LUMA
    luma_np = luma_nhw.reshape(len(luma_nhw), luma_nhw.shape[1] * luma_nhw.shape[2])
    brightest = int(0.99 * (luma_np.shape[1] - 1))
    dark_n = np.count_nonzero(luma_np < BLACK_BELOW, axis=1)  # a tenth of the time of sorting out the 99th percentile
    spread_n = luma_np.std(axis=1)
    return [
        "black frame" if dark > brightest else "blank frame" if spread < BLANK_BELOW else None
        for dark, spread in zip(dark_n, spread_n, strict=True)
    ]
