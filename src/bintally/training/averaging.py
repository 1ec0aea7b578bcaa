"""A moving average of a network's weights: what a noisy path goes round, it has reached (Polyak & Juditsky 1992)."""

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn


class AveragedNetwork(nn.Module):
    """A copy of `network` whose weights and statistics follow it: `a += (1 - decay) * (w - a)` at each step.

    torch's own `AveragedModel` counts its steps on the device, so that each of them would wait for the GPU; and it has
    no warm-up, so that the average would hold the random head for the first thousands of steps.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.network = deepcopy(network).requires_grad_(False).eval()
        self._decay = decay

    @torch.no_grad()
    def follow(self, network: nn.Module, step: int) -> None:
        """One more step, the `step`-th from 0; the first ones count for more."""
        decay = min(self._decay, (1 + step) / (10 + step))
        own, theirs = _tensors(self.network), _tensors(network)
        pairs = [(a, b.detach()) for a, b in zip(own, theirs, strict=True)]
        moving = [(a, b) for a, b in pairs if a.is_floating_point()]
        # A private name of torch's, as its own `swa_utils` uses it: one launch for all layers instead of hundreds.
        torch._foreach_lerp_([a for a, _ in moving], [b for _, b in moving], 1 - decay)
        for a, b in pairs:
            if not a.is_floating_point():  # how many batches a norm has seen
                a.copy_(b)


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    yield from network.parameters()
    yield from network.buffers()
