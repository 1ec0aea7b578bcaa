"""What a network tells beside the count: what changed between two photos of a bin.

Shapes: middle_nchw, top_nchw float, the feature maps of the stage before the last and of the last; maps_nchw float,
what is compared of a photo; evidence_pd float [P, 2D+1], of P pairs.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

MAX_CHANGE: Final = 6
"""Changes of -6..6 are told apart; 2.2% of the neighbours in ABID's train split change by more, and count as these."""

_REACH: Final = 2  # an item is looked for in the earlier photo up to so many positions away, either way
_DROPPED: Final = 0.3


class ChangeHead(nn.Module):
    """Compares two photos of a bin: the log likelihood of each change of its count, up to a constant.

    Photos of a bin are taken from nearly, not exactly, the same place. So each position of the later photo is matched
    with those around it in the earlier one (a cost volume, as in optical flow: Sun et al. 2018, PWC-Net,
    arXiv:1709.02371), and what is left after the match is what came or went. Exchanging the photos must turn the change
    around: the head looks at both orders and is antisymmetric by construction.
    """

    def __init__(self, middle_channels: int, top_channels: int, width: int = 96) -> None:
        super().__init__()
        self.middle = nn.Sequential(nn.BatchNorm2d(middle_channels), nn.Conv2d(middle_channels, width, 1))
        self.top = nn.Sequential(nn.BatchNorm2d(top_channels), nn.Conv2d(top_channels, width, 1))
        self.sharpness = nn.Parameter(torch.tensor(5.0))
        shifts = (2 * _REACH + 1) ** 2
        self.body = nn.Sequential(*_convolution(4 * 2 * width + shifts, 2 * width), *_convolution(2 * width, 2 * width))
        self.drop = nn.Dropout(_DROPPED)
        self.out = nn.Linear(2 * 2 * width, 2 * MAX_CHANGE + 1)

    def maps(self, middle_nchw: Tensor, top_nchw: Tensor) -> Tensor:
        """What is compared of a photo, [N, 2 * width, h, w] at the finer of the two sizes."""
        fine_nchw = self.middle(middle_nchw)
        coarse_nchw = functional.interpolate(self.top(top_nchw), size=fine_nchw.shape[2:], mode="bilinear")
        return torch.cat([fine_nchw, coarse_nchw], dim=1)

    def forward(self, earlier_nchw: Tensor, later_nchw: Tensor) -> Tensor:
        """Evidence [P, 2D+1] of the maps of pairs."""
        there = self.out(self.drop(self._compared(earlier_nchw, later_nchw)))
        back = self.out(self.drop(self._compared(later_nchw, earlier_nchw)))
        evidence_pd: Tensor = there + back.flip(1)
        return evidence_pd

    def _compared(self, earlier_nchw: Tensor, later_nchw: Tensor) -> Tensor:
        height, width = earlier_nchw.shape[2:]
        around = functional.pad(earlier_nchw, (_REACH,) * 4)
        around_unit = functional.pad(functional.normalize(earlier_nchw, dim=1), (_REACH,) * 4)
        later_unit = functional.normalize(later_nchw, dim=1)
        windows = [
            (slice(None), slice(None), slice(y, y + height), slice(x, x + width))
            for y in range(2 * _REACH + 1)
            for x in range(2 * _REACH + 1)
        ]
        likeness = torch.stack([(later_unit * around_unit[window]).sum(dim=1) for window in windows], dim=1)
        weights = (self.sharpness * likeness).softmax(dim=1)
        matched = torch.zeros_like(earlier_nchw)
        for shift, window in enumerate(windows):
            matched = matched + weights[:, shift : shift + 1] * around[window]
        left = later_nchw - matched
        seen = self.body(torch.cat([earlier_nchw, later_nchw, left, left.abs(), likeness], dim=1))
        return torch.cat([seen.mean(dim=(2, 3)), seen.amax(dim=(2, 3))], dim=1)


def _convolution(channels: int, out: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()
