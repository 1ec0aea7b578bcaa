"""The gradient noise scale: up to which batch size another photo in the batch is worth its time.

Source: McCandlish et al. 2018, "An empirical model of large-batch training", arXiv:1812.06162, section 2.2 and
appendix A.1.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bintally.counting.intervals import bootstrap_means
from bintally.progress import SILENT, Progress, Task
from bintally.training.rehearsal import Rehearsal

GROUPS: Final = 12
BATCHES: Final = 4
"""Small batches in a big one."""

WARMUP: Final = 50
"""Steps trained at the recipe's rates first: a head from scratch has large gradients that all photos agree on."""

Floats = NDArray[np.float64]


class NoiseScale(msgspec.Struct, frozen=True, kw_only=True):
    """The simple noise scale tr(Sigma) / |G|^2 in photos, with its 95% interval; None: beyond what could be measured.

    Sigma is the covariance of one photo's gradient (dropout and augmentation included), G its mean. An optimizer that
    scales gradients (Adam) may find its best batch size elsewhere, and the scale grows as a training goes on.
    """

    photos: float | None
    low: float
    high: float | None
    batch_size: int
    """The recipe's, which the small batches had."""
    gradient_squared: float
    """|G|^2, unbiased, so that it may be negative."""
    variance: float
    """tr(Sigma), unbiased."""
    train_photos: int
    """There are no larger batches."""
    groups: int
    batches: int
    warmup_steps: int

    @property
    def suggested(self) -> int | None:
        """The power of two next below the noise scale (and train's photos): larger batches waste photos."""
        return None if self.photos is None else 2 ** int(np.log2(max(min(self.photos, self.train_photos), 1.0)))

    @property
    def progress_share(self) -> float:
        """How far a step of the recipe's batch size gets, of what one with the exact gradient would (eq. 2.7)."""
        return 0.0 if self.photos is None else self.batch_size / (self.batch_size + self.photos)

    def sentence(self) -> str:
        """The suggestion in words."""
        if self.photos is None or self.suggested is None:
            if not self.low:
                return (
                    f"{self.groups * self.batches} batches of {self.batch_size} are too few to tell the noise scale: "
                    "their gradients have no direction in common that could be measured."
                )
            return (
                f"The gradient is lost in noise: its noise scale is above {self.low:,.0f} photos, so batches larger "
                f"than {self.batch_size} would make each step better by nearly as much as they cost."
            )
        high = "without bound" if self.high is None else f"to {self.high:,.0f}"
        if self.suggested < self.batch_size / 2:
            advice = f"a smaller batch, about {self.suggested}, learns as much from fewer photos"
        elif self.suggested > 2 * self.batch_size:
            advice = f"batches up to about {self.suggested:,} cost few photos more, if the machine is faster with them"
        else:
            advice = "that fits"
        return (
            f"The noise scale is about {self.photos:,.0f} photos (95%: {self.low:,.0f} {high}); a step of the recipe's "
            f"{self.batch_size} gets {self.progress_share:.0%} as far as one with the exact gradient: {advice}."
        )


def noise_scale(
    rehearsal: Rehearsal,
    *,
    groups: int = GROUPS,
    batches: int = BATCHES,
    warmup_steps: int = WARMUP,
    progress: Progress = SILENT,
) -> NoiseScale:
    """Measures on `groups` x `batches` batches of the recipe, after some steps of training that are then forgotten."""
    total = warmup_steps + groups * batches
    with rehearsal.undone(), progress.task("noise", total=total, unit="steps") as task:
        drawn = rehearsal.batches()
        optimizer = rehearsal.optimizer()
        sizes: list[int] = []
        for batch in islice(drawn, warmup_steps):
            rehearsal.step(batch, optimizer)
            task.advance()

        def next_loss() -> Tensor:
            batch = next(drawn)
            sizes.append(len(batch[1]))
            return rehearsal.loss(batch)

        small_g, big_g = squared_norms(
            rehearsal.learning_parameters, next_loss, groups=groups, batches=batches, task=task
        )
    batch_size = round(float(np.mean(sizes)))
    return estimated(
        small_g,
        big_g,
        batch_size=batch_size,
        batches=batches,
        train_photos=rehearsal.plan.train.height,
        warmup_steps=warmup_steps,
    )


def squared_norms(
    parameters: Sequence[nn.Parameter],
    next_loss: Callable[[], Tensor],
    *,
    groups: int,
    batches: int,
    task: Task | None = None,
) -> tuple[Floats, Floats]:
    """Squared norms [G] of gradients: of small batches, averaged over each group; and of each group as one batch."""
    small_g, big_g = np.zeros(groups), np.zeros(groups)
    for group in range(groups):
        summed = [torch.zeros_like(parameter) for parameter in parameters]
        for _ in range(batches):
            gradients = torch.autograd.grad(next_loss(), parameters, allow_unused=True)
            small_g[group] += _squared_norm(gradients) / batches
            for total, gradient in zip(summed, gradients, strict=True):
                if gradient is not None:
                    total += gradient
            if task is not None:
                task.advance()
        big_g[group] = _squared_norm(summed) / batches**2
    return small_g, big_g


def estimated(
    small_g: Floats,
    big_g: Floats,
    *,
    batch_size: int,
    batches: int,
    train_photos: int,
    warmup_steps: int = 0,
    seed: int = 0,
) -> NoiseScale:
    """The noise scale of squared gradient norms [G], those of batches and those of `batches` times as large ones.

    The interval is a bootstrap over groups of 1 / scale, which has no pole where |G|^2 vanishes.
    """
    big_size = batches * batch_size

    def parts(means: Floats) -> tuple[Floats, Floats]:
        small, big = means[..., 0], means[..., 1]
        squared = (big_size * big - batch_size * small) / (big_size - batch_size)
        return squared, (small - big) / (1 / batch_size - 1 / big_size)

    def inverse(means: Floats) -> Floats:
        squared, variance = parts(means)
        return np.asarray(squared / np.maximum(variance, np.finfo(np.float64).tiny))

    terms_g2 = np.stack([small_g, big_g], axis=1)
    squared, variance = parts(terms_g2.mean(axis=0))
    figure = bootstrap_means(terms_g2, inverse, seed=seed)
    return NoiseScale(
        photos=_inverted(figure.value),
        low=_inverted(figure.high) or 0.0,
        high=_inverted(figure.low),
        batch_size=batch_size,
        gradient_squared=float(squared),
        variance=float(variance),
        train_photos=train_photos,
        groups=len(small_g),
        batches=batches,
        warmup_steps=warmup_steps,
    )


def _inverted(value: float) -> float | None:
    return 1 / value if value > 0 else None


def _squared_norm(gradients: Sequence[Tensor | None]) -> float:
    """In float64 once summed by tensor: squares of a million parameters would be rounded away in float32."""
    return float(sum(gradient.double().square().sum() for gradient in gradients if gradient is not None))
