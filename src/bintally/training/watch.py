"""The losses of a training's steps, fetched from the device now and then: each fetch waits until the device is idle."""

import math
import time
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from bintally.errors import TrainingError

EVERY_S: Final = 1.0
"""How old a loss on show may be, and how long steps on nonsense may go on."""


class LossWatch:
    """This epoch's losses, in order; and one that is smoothed, for people."""

    def __init__(self) -> None:
        self.epoch: list[float] = []
        self.smooth: float | None = None
        self.listeners: list[Callable[[int, float], None]] = []  # told each step's loss, nonsense too
        self._waiting: list[tuple[int, Tensor]] = []
        self._settled_at = time.monotonic()

    def add(self, step: int, loss: Tensor) -> None:
        """One more step's loss; looked at when the last look is long enough ago.

        Raises:
            TrainingError: one has become NaN or infinite.
        """
        self._waiting.append((step, loss.detach()))
        if time.monotonic() - self._settled_at > EVERY_S:
            self.settle()

    def settle(self) -> None:
        """Looks at all that are waiting.

        Raises:
            TrainingError: one has become NaN or infinite.
        """
        waiting, self._waiting = self._waiting, []
        losses = torch.stack([loss for _, loss in waiting]).tolist() if waiting else []
        for (step, _), loss in zip(waiting, losses, strict=True):
            for listener in self.listeners:
                listener(step, loss)
            if not math.isfinite(loss):
                raise TrainingError(f"The loss became {loss} at step {step}.", hint=ADVICE)
            self.epoch.append(loss)
            self.smooth = loss if self.smooth is None else 0.95 * self.smooth + 0.05 * loss
        self._settled_at = time.monotonic()


ADVICE: Final = "Lower optimizer.body_lr and head_lr, set optimizer.clip_norm, or use loop.precision = 'fp32'."
