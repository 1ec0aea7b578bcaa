"""The learning-rate range test: train while the rate rises, and see where the loss falls fastest and where it breaks.

Sources: Smith 2017, "Cyclical learning rates for training neural networks", arXiv:1506.01186 (the test); Howard and
Gugger 2020, fastai, arXiv:2002.04688 (exponential rise, steepest descent and a tenth of the minimum as suggestions).
"""

import math
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from bintally.progress import SILENT, Progress
from bintally.training.rehearsal import Rehearsal

STEPS: Final = 100
LOWEST, HIGHEST = 1e-7, 10.0

_DIVERGED: Final = 4.0  # times the least smoothed loss
_MEMORY: Final = 0.9  # of the loss that decides when to stop
_WIDTH: Final = 0.03  # of the smoothing, in steps of all: a quarter of a decade
_NOISE: Final = 2.5  # of a batch's standard deviations: a smaller fall is none (a larger one is chance once in 500)

Floats = NDArray[np.float64]


class LrRange(msgspec.Struct, frozen=True, kw_only=True):
    """What the test saw. Rates are the body's (the head's, where it learns alone); the other keeps its ratio."""

    of: Literal["body", "head"]
    own: float
    """The recipe's."""
    head_ratio: float
    """The head's rate over `own`."""
    rates: tuple[float, ...]
    """One a step."""
    losses: tuple[float, ...]
    """Before each step; one that is not finite ended the test and is left out."""
    smoothed: tuple[float, ...]
    steepest: float | None
    """Where the loss falls fastest; None: it never falls by more than batches differ."""
    tenth_of_minimum: float | None
    """A tenth of the rate at the least loss."""
    diverged_at: float | None
    """None: it did not, up to the highest rate tried."""

    def sentence(self) -> str:
        """The suggestion in words."""
        if self.steepest is None or self.tenth_of_minimum is None:
            return (
                f"In {len(self.losses)} steps of rising rate the loss never fell by more than batches differ, "
                "so the test can't suggest a learning rate; more steps might."
            )
        low, high = sorted((self.steepest, self.tenth_of_minimum))
        return (
            f"The loss falls fastest at {self.of}_lr = {self.steepest:.1e}, a tenth of the rate with the least loss is "
            f"{self.tenth_of_minimum:.1e}; the recipe's {self.own:.1e} is {self._place(low, high)}."
        )

    def _place(self, low: float, high: float) -> str:
        if self.own > 10 * high or (self.diverged_at is not None and self.own >= self.diverged_at):
            return "too high: lower it"
        if self.own < low / 10:
            return "low: it would learn slowly"
        return "in the range of both" if low <= self.own <= high else "near them"

    @property
    def fits(self) -> bool:
        """Whether the recipe's rate is within a factor of ten of the suggestions, or there are none."""
        if self.steepest is None or self.tenth_of_minimum is None:
            return True
        low, high = sorted((self.steepest, self.tenth_of_minimum))
        return self._place(low, high) in ("in the range of both", "near them")


def lr_range(rehearsal: Rehearsal, *, steps: int = STEPS, progress: Progress = SILENT) -> LrRange:
    """Trains for up to `steps` steps, the rate rising exponentially from 1e-7 to 10, and forgets what was learnt."""
    recipe = rehearsal.plan.recipe
    of: Literal["body", "head"] = "head" if recipe.network.tune == "head" else "body"
    own = recipe.optimizer.head_lr if of == "head" else recipe.optimizer.body_lr
    rates = np.geomspace(LOWEST, HIGHEST, steps)
    losses: list[float] = []
    watch = _Divergence()
    with rehearsal.undone(), progress.task("rate", total=steps, unit="steps") as task:
        optimizer = rehearsal.optimizer()
        peaks = [group["lr"] for group in optimizer.param_groups]
        for rate, batch in zip(rates, rehearsal.batches(), strict=False):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * rate / own
            loss = rehearsal.step(batch, optimizer)
            if math.isfinite(loss):
                losses.append(loss)
            task.advance()
            task.note(f"{of}_lr {rate:.0e}, loss {loss:.3f}")
            if watch.saw(loss):
                break
    diverged_at = float(rates[watch.seen - 1]) if watch.diverged else None
    return judged(
        rates[: len(losses)],
        np.array(losses),
        of=of,
        own=own,
        head_ratio=recipe.optimizer.head_lr / own,
        diverged_at=diverged_at,
        width=max(_WIDTH * steps, 1.0),
    )


class _Divergence:
    """Says when losses, smoothed, have risen far above their least."""

    def __init__(self) -> None:
        self.seen, self.diverged = 0, False
        self._sum, self._least = 0.0, math.inf

    def saw(self, loss: float) -> bool:
        """One more loss; whether it is time to stop."""
        self.seen += 1
        self._sum = _MEMORY * self._sum + (1 - _MEMORY) * loss
        smooth = self._sum / (1 - _MEMORY**self.seen)
        self._least = min(self._least, smooth)
        self.diverged = not smooth <= _DIVERGED * self._least  # NaN compares false
        return self.diverged


def judged(
    rates: Floats,
    losses: Floats,
    *,
    of: Literal["body", "head"],
    own: float,
    head_ratio: float,
    diverged_at: float | None,
    width: float,
) -> LrRange:
    """What follows from the `losses` [S] of steps with rising `rates` [S]; smoothed over about `width` steps."""
    steepest = tenth = None
    smoothed = losses
    if len(losses) > 1:
        seen = np.minimum(losses, _DIVERGED * np.median(losses))  # one loss of a million would smooth far back
        smoothed, slopes = local_lines(seen, width)
        least = int(smoothed.argmin())
        start = losses[: max(len(losses) // 10, 1)].mean()
        noise = float((seen - smoothed)[: least + 1].std())
        if least and start - smoothed[least] > max(_NOISE * noise, 1e-6 * abs(start)):
            steepest = float(rates[slopes[: least + 1].argmin()])
            tenth = float(rates[least] / 10)
    return LrRange(
        of=of,
        own=own,
        head_ratio=head_ratio,
        rates=tuple(rates.tolist()),
        losses=tuple(losses.tolist()),
        smoothed=tuple(smoothed.tolist()),
        steepest=steepest,
        tenth_of_minimum=tenth,
        diverged_at=diverged_at,
    )


def local_lines(values: Floats, width: float) -> tuple[Floats, Floats]:
    """Values [S] smoothed and their slopes a step: at each place the line that fits best, near steps weighing most.

    Unlike a running mean, it lags behind nothing, so the steepest place is where it is (Cleveland 1979, LOESS, with
    Gaussian weights of standard deviation `width`).
    """
    apart = np.arange(len(values))[None, :] - np.arange(len(values))[:, None]
    weights = np.exp(-0.5 * (apart / width) ** 2)
    weights /= weights.sum(axis=1, keepdims=True)
    centre = (weights * apart).sum(axis=1, keepdims=True)
    spread = (weights * (apart - centre) ** 2).sum(axis=1)
    slopes = (weights * (apart - centre)) @ values / spread
    return weights @ values - slopes * centre[:, 0], slopes
