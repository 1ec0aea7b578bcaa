"""Photos of whole bins for a training: what changed between two photos is to be seen only if they are cut alike.

Shapes: pixels_nchw uint8 [N, 3, px, px]; a bin's photos views_vchw uint8 [V, 3, cache_px, cache_px].
"""

import warnings
from typing import Any, Final

import polars as pl
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from bintally.training.cache import PhotoCache
from bintally.training.dataset import GREY, colours, labels_of
from bintally.training.pairs import Beside, BinIndex, Pairing
from bintally.training.recipe import AugmentSettings

SHIFT: Final = 0.04
"""A bin's photos are cut up to this share of their side apart: the camera never stands twice in the same place."""

_COMPRESSED: Final = 0.3
_QUALITY: Final = (30, 90)
_EXPOSED: Final = 0.3
_GAMMA: Final = (0.6, 1.6)


class BinViews(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Random views of one bin's photos, uint8 [V, 3, S, S] -> uint8 [V, 3, px, px]: turned, cut and mirrored alike.

    All of them may be compressed, blurred and exposed differently, second looks or not: else what gives a second look
    away would be how it was made.
    """

    def __init__(self, settings: AugmentSettings, px: int) -> None:
        super().__init__()
        aspect = settings.crop_aspect
        self._px, self._flip, self._angle = px, settings.flip, settings.rotate
        self._crop = v2.RandomResizedCrop(px, scale=(settings.crop_min_area, 1.0), ratio=(1 / aspect, aspect))
        self._colours = v2.Compose(
            [
                v2.RandomApply([_Gamma()], p=_EXPOSED),
                *colours(settings),
                v2.RandomApply([_Compression(_QUALITY)], p=_COMPRESSED),
            ]
        )

    def forward(self, *inputs: Any) -> Tensor:
        """The views of one bin."""
        (views_vchw,) = inputs
        if self._angle:
            turn = v2.RandomRotation(self._angle, v2.InterpolationMode.BILINEAR, fill=list(GREY))
            views_vchw = turn(views_vchw)
        box = self._crop.make_params([views_vchw])
        height, width = box["height"], box["width"]
        mirrored = torch.rand(()) < self._flip
        views = []
        for view_chw in views_vchw:
            side = view_chw.shape[1]
            y, x = (
                int((corner + SHIFT * side * (2 * torch.rand(()) - 1)).round().clamp(0, side - length))
                for corner, length in ((box["top"], height), (box["left"], width))
            )
            view_chw = functional.resized_crop(view_chw, y, x, height, width, [self._px, self._px], antialias=True)
            views.append(self._colours(view_chw.flip(2) if mirrored else view_chw))
        return torch.stack(views)


class _Gamma(v2.Transform):  # type: ignore[misc]
    """Another exposure of the same light."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        low, high = (torch.log(torch.tensor(bound)) for bound in _GAMMA)
        return {"gamma": float(torch.exp(low + (high - low) * torch.rand(())))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return functional.adjust_gamma(inpt, params["gamma"])


class _Compression(v2.JPEG):  # type: ignore[misc]
    """Saved as a JPEG and read again."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        with warnings.catch_warnings():
            # TorchCodec, which torchvision points to, does not compress tensors in memory as this does.
            warnings.filterwarnings("ignore", message=".*image decoding and encoding capabilities of TorchVision")
            return super().transform(inpt, params)


class BinDataset(Dataset[tuple[Tensor, Tensor, Beside]]):
    """Cached photos of bins, by whole batches: `dataset[seed, bins]` is (pixels_nchw, labels_n, what else is known)."""

    def __init__(
        self, cache: PhotoCache, table: pl.DataFrame, keys: tuple[str, ...], views: BinViews, pairing: Pairing
    ) -> None:
        self.labels_n = labels_of(table, keys)
        self._cache, self._views, self._pairing = cache, views, pairing
        self._rows_n = cache.rows(table["sha256"].to_list())

    def __len__(self) -> int:
        return len(self.labels_n)

    def __getitem__(self, index: BinIndex) -> tuple[Tensor, Tensor, Beside]:
        seed, bins = index
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            pixels_nchw = torch.cat(
                [
                    self._views(torch.from_numpy(self._cache.read(self._rows_n[list(rows)])).permute(0, 3, 1, 2))
                    for rows in bins
                ]
            )
        chosen = [row for rows in bins for row in rows]
        return pixels_nchw, torch.from_numpy(self.labels_n[chosen]), self._pairing.beside(bins, seed)
