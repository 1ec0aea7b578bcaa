"""Photos of a batch mixed with each other, and their labels by the same shares.

Mixup lays one photo over another (Zhang et al. 2018, arXiv:1710.09412), CutMix puts a rectangle of one into another
(Yun et al. 2019, arXiv:1905.04899). The partner is the photo before it in the batch: batches are drawn at random, so it
is as random as any, and never the photo itself.

Shapes: pixels_nchw uint8 [N, 3, H, W]; labels_n int64 [N]; shares_nk float32 [N, K], how much of each label is in it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from bintally.training.recipe import AugmentSettings


@dataclass(frozen=True)
class Mixing:
    """How batches are mixed; everything random is drawn from a batch's seed."""

    settings: AugmentSettings
    classes: int

    def __call__(self, pixels_nchw: Tensor, labels_n: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """The mixed photos, and the shares [N, K] of the labels in them."""
        shares_nk = one_hot(labels_n, self.classes).float()
        rng = np.random.default_rng(seed)
        if rng.random() >= self.settings.mix_share:
            return pixels_nchw, shares_nk
        ways = [way for way in ("mixup", "cutmix") if getattr(self.settings, way) > 0]
        way = ways[int(rng.integers(len(ways)))]
        alpha = getattr(self.settings, way)
        own = float(rng.beta(alpha, alpha))
        if way == "mixup":
            pixels_nchw = laid_over(pixels_nchw, own)
        else:
            pixels_nchw, own = cut_in(pixels_nchw, own, rng)
        return pixels_nchw, own * shares_nk + (1 - own) * shares_nk.roll(1, 0)


def laid_over(pixels_nchw: Tensor, own: float) -> Tensor:
    """Each photo by `own`, the one before it by the rest."""
    floats_nchw = pixels_nchw.float()
    return torch.lerp(floats_nchw.roll(1, 0), floats_nchw, own).round_().to(torch.uint8)


def cut_in(pixels_nchw: Tensor, own: float, rng: np.random.Generator) -> tuple[Tensor, float]:
    """A rectangle of about `1 - own` of the area from the photo before; and the share that each photo really keeps.

    The rectangle's centre is anywhere, so at an edge a part of it is lost.
    """
    height, width = pixels_nchw.shape[2:]
    side = np.sqrt(1 - own)
    y, x = rng.random() * height, rng.random() * width
    top, bottom = (int(np.clip(round(y + sign * side * height / 2), 0, height)) for sign in (-1, 1))
    left, right = (int(np.clip(round(x + sign * side * width / 2), 0, width)) for sign in (-1, 1))
    mixed_nchw = pixels_nchw.clone()
    mixed_nchw[:, :, top:bottom, left:right] = pixels_nchw.roll(1, 0)[:, :, top:bottom, left:right]
    return mixed_nchw, 1 - (bottom - top) * (right - left) / (height * width)
