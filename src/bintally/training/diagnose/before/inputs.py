"""What a network is about to see: how many photos of each count, and how they look once it has normalised them.

Thresholds are SageMaker Debugger's (developer guide, rules ClassImbalance and CheckInputImages).
"""

from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from bintally.counting.decode import decode
from bintally.photos import read_photo
from bintally.training.network import CountNetwork

IMBALANCE: Final = 10.0
"""From this ratio of the commonest to the rarest count on, ClassImbalance fires."""

MEAN: Final = 0.2
"""From this mean on, either side of 0, CheckInputImages fires."""

SAMPLE: Final = 500


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """Colours of a sample of photos after the network's normalisation, by channel (red, green, blue)."""

    photos: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def overall_mean(self) -> float:
        """Over all channels."""
        return float(np.mean(self.mean))


def imbalance(photos: dict[str, int]) -> float:
    """Photos of the commonest count over those of the rarest."""
    return max(photos.values()) / max(min(photos.values()), 1)


def inputs_of(network: CountNetwork, data: Path, table: pl.DataFrame, *, px: int, seed: int) -> Inputs:
    """Looks at up to 500 photos of `table`, drawn by `seed`, as validation shows them: at `px`, nothing random.

    Raises:
        PhotoError: one can't be read.
    """
    drawn = table.sample(min(SAMPLE, table.height), seed=seed)
    sums: NDArray[np.float64] = np.zeros((2, 3))
    for path in drawn["path"]:
        pixels_hwc = decode(read_photo(data / path), height_px=px, width_px=px).astype(np.float64)
        sums += np.stack([pixels_hwc.mean(axis=(0, 1)), (pixels_hwc**2).mean(axis=(0, 1))])
    mean, square = sums / drawn.height
    shift, scale = (buffer.flatten().double().cpu().numpy() for buffer in (network.mean_c11, network.std_c11))
    return Inputs(
        photos=drawn.height,
        mean=_rgb((mean - shift) / scale),
        std=_rgb(np.sqrt(np.maximum(square - mean**2, 0)) / scale),
    )


def _rgb(values_c: NDArray[np.float64]) -> tuple[float, float, float]:
    red, green, blue = values_c.tolist()
    return red, green, blue
