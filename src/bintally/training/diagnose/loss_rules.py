"""Rules about losses: not falling, falling on train alone, no longer falling."""

from array import array
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from torch import Tensor

from bintally.training.diagnose.finding import Finding
from bintally.training.diagnose.rule import Rule, Source
from bintally.training.diagnose.seen import Mode

_BLOCKS: Final = 8
"""Before so many times `num_steps`, chance and warm-up still hide whether a loss falls."""

_FEW: Final = 3
"""Trainings of fewer times `num_steps` are not judged at all."""

_DOUBT: Final = 0.25
_DOUBT_AT_END: Final = 1.0
"""Standard errors by which a loss must have fallen: on its way, a training may just be slow."""

_SHOT_UP: Final = 5.0
"""Times the first loss that no healthy training comes to."""

_STUCK: Final = "See whether labels belong to their photos and whether weights change; try rates 10 times up and down."


@dataclass(kw_only=True)
class LossNotDecreasing(Rule):
    """The loss does not fall by `diff_percent`, or rises by more than `increase_threshold_percent`.

    `mode`: TRAIN (the default) or EVAL. The original compares one saved loss with that of `num_steps` ago, which on
    single batches is a toss-up. Here, every `num_steps` steps from the 80th on, the later half of the train losses
    is compared with the earlier: ill is a fall of less than `diff_percent` and a quarter of a standard error; at
    the end, when there is no more time to fall, of a whole one. (The first quarter is left out: what a network
    learns first is how often each label comes, and that can be learnt from wrong ones.) And the last `num_steps`
    losses with those before: ill is a rise of `increase_threshold_percent` and of 3 standard errors, or one that
    lifts each of them above all before; losses that hardly differ, but do not fall; and a loss that shot up and did
    not come back below where it began (a network that too high a rate has killed stands still far below its worst).
    A validation's loss is no batch's: as in the original, it is compared with the one `num_steps` or more steps
    ago.
    """

    num_steps: int = 10
    diff_percent: float = 0.1
    increase_threshold_percent: float = 5.0
    mode: Literal["TRAIN", "EVAL"] | None = None

    looks_at: ClassVar[frozenset[Source]] = frozenset({"losses"})

    def __post_init__(self) -> None:
        self._sums: array[float] = array("d", [0.0])
        self._squares: array[float] = array("d", [0.0])
        self._last: deque[float] = deque(maxlen=2 * self.num_steps)
        self._peak: float = 0.0
        self._evals: list[tuple[int, float]] = []

    def hear(self, step: int, mode: Mode, loss: float, plain: float | None) -> list[Finding] | None:
        """One more loss."""
        if mode == "eval":
            return self._validated(step, loss) if self.mode == "EVAL" else None
        if self.mode == "EVAL":
            return None
        self._last.append(loss)
        self._peak = max(self._peak, loss)
        self._sums.append(self._sums[-1] + loss)
        self._squares.append(self._squares[-1] + loss * loss)
        heard = len(self._sums) - 1
        if heard % self.num_steps or heard < 2 * self.num_steps:
            return None
        found = self._risen(step, heard) or self._flat(step, heard) or self._broken(step, heard)
        if found or heard < _BLOCKS * self.num_steps:
            return found
        return self._stuck(step, heard, _DOUBT)

    def finish(self, step: int, weights: Mapping[str, Tensor]) -> list[Finding] | None:
        """Judges the whole training."""
        heard = len(self._sums) - 1
        return self._stuck(step, heard, _DOUBT_AT_END) if heard >= _FEW * self.num_steps else None

    def _risen(self, step: int, heard: int) -> list[Finding]:
        steps = self.num_steps
        before, noise_before = self._mean(heard - 2 * steps, heard - steps)
        now, noise = self._mean(heard - steps, heard)
        limit = before + abs(before) * self.increase_threshold_percent / 100
        last = list(self._last)
        apart = min(last[steps:]) > max(last[:steps])  # a loss that explodes has the largest of errors
        if not (now > limit and (apart or now > before + 3 * (noise**2 + noise_before**2) ** 0.5)):
            return []
        told = f"The loss rises: {now:.4g} over the last {steps} steps, {before:.4g} over those before."
        return [self.found(step, "train loss", now, limit, told, "Lower the learning rate, or warm it up.")]

    def _flat(self, step: int, heard: int) -> list[Finding]:
        """Losses of the same photos, say: chance explains less than `diff_percent`, so no long look is needed."""
        steps, share = self.num_steps, self.diff_percent / 100
        before, noise_before = self._mean(heard - 2 * steps, heard - steps)
        now, noise = self._mean(heard - steps, heard)
        limit = before - abs(before) * share
        if not (now > limit and 3 * (noise**2 + noise_before**2) ** 0.5 < abs(before) * share):
            return []
        told = f"The loss stands still: {now:.6g} over the last {steps} steps, {before:.6g} over those before."
        return [self.found(step, "train loss", now, limit, told, _STUCK)]

    def _broken(self, step: int, heard: int) -> list[Finding]:
        first, now = self._sums[1], sum(list(self._last)[-self.num_steps :]) / self.num_steps
        limit = first - abs(first) * self.diff_percent / 100
        if not (self._peak > _SHOT_UP * abs(first) and now > limit):
            return []
        told = f"The loss shot up from {first:.4g} to {self._peak:.3g}, and is {now:.4g} now: no lower than it began."
        advice = "Lower the learning rate, or warm it up, and start again: what has been learnt is lost."
        return [self.found(step, "train loss", now, limit, told, advice)]

    def _stuck(self, step: int, heard: int, doubt: float) -> list[Finding]:
        start, middle = heard // 4, heard // 4 + 3 * heard // 8
        before, noise_before = self._mean(start, middle)
        now, noise = self._mean(middle, heard)
        limit = before - abs(before) * self.diff_percent / 100 - doubt * (noise**2 + noise_before**2) ** 0.5
        if not now > limit:
            return []
        told = f"The loss does not fall: {now:.4g} over the last {heard - middle} steps, {before:.4g} before."
        return [self.found(step, "train loss", now, limit, told, _STUCK)]

    def _mean(self, start: int, end: int) -> tuple[float, float]:
        """The mean of some losses, and its standard error."""
        count = end - start
        mean = (self._sums[end] - self._sums[start]) / count
        variance = max((self._squares[end] - self._squares[start]) / count - mean * mean, 0.0)
        return mean, (variance / max(count - 1, 1)) ** 0.5

    def _validated(self, step: int, loss: float) -> list[Finding] | None:
        earlier = [before for at, before in self._evals if at <= step - self.num_steps]
        self._evals.append((step, loss))
        if not earlier:
            return None
        limit = earlier[-1] - abs(earlier[-1]) * self.diff_percent / 100
        if not loss > limit:
            return []
        told = f"The validation loss does not fall: {loss:.4g}, after {earlier[-1]:.4g}."
        return [self.found(step, "eval loss", loss, limit, told, "Stop, or lower the learning rate.")]


@dataclass(kw_only=True)
class Overfit(Rule):
    """The validation loss is above the train loss by more than `ratio_threshold` of it, `patience` validations long.

    The train loss is the mean since the validation before. Where logits and labels are handed in at both, their plain
    cross-entropy is compared, so that smoothed labels, weights and teachers in the loss do not matter; what is left is
    that train photos are augmented and validation's are not. Mixed photos are left out: there may be none to compare.
    """

    start_step: int = 0
    patience: int = 1
    ratio_threshold: float = 0.1

    looks_at: ClassVar[frozenset[Source]] = frozenset({"losses", "logits", "labels"})

    def __post_init__(self) -> None:
        self._train: list[tuple[float, float | None]] = []
        self._exceeded: int = 0

    def hear(self, step: int, mode: Mode, loss: float, plain: float | None) -> list[Finding] | None:
        """Remembers train losses, judges at validations."""
        if mode == "train":
            self._train.append((loss, plain))
            return None
        heard, self._train = self._train, []
        compared = _comparable(heard, loss, plain)
        if compared is None or step < self.start_step:
            return None
        train, validation = compared
        ratio = (validation - train) / max(train, 1e-9)
        self._exceeded = self._exceeded + 1 if ratio > self.ratio_threshold else 0
        if not self._exceeded or self._exceeded < self.patience:
            return []
        told = f"The validation loss {validation:.4g} is {ratio:.0%} above the train loss {train:.4g}."
        advice = "More photos, stronger augmentation, more weight decay or dropout, or fewer epochs."
        return [self.found(step, "eval loss", ratio, self.ratio_threshold, told, advice)]


def _comparable(
    heard: list[tuple[float, float | None]], loss: float, plain: float | None
) -> tuple[float, float] | None:
    """Train and validation loss by one measure; None where there is none."""
    if plain is None:
        return (sum(train for train, _ in heard) / len(heard), loss) if heard else None
    plains = [value for _, value in heard if value is not None and value == value]
    return (sum(plains) / len(plains), plain) if plains else None


@dataclass(kw_only=True)
class Overtraining(Rule):
    """Training goes on although neither loss gets better by `delta`.

    Ill is a train loss without a new best for `patience_train` validations, each time the mean since the one before, or
    a validation loss without one for `patience_validation`. (Steps of the original are those at which losses are saved;
    one batch's loss would be better than all before by mere chance, or never again.)
    """

    patience_train: int = 5
    patience_validation: int = 10
    delta: float = 0.01

    looks_at: ClassVar[frozenset[Source]] = frozenset({"losses"})

    def __post_init__(self) -> None:
        self._since: list[float] = []
        self._best: dict[str, float] = {}
        self._waited: dict[str, int] = {}

    def hear(self, step: int, mode: Mode, loss: float, plain: float | None) -> list[Finding] | None:
        """Remembers train losses, judges at validations."""
        if mode == "train":
            self._since.append(loss)
            return None
        findings = self._judged(step, "eval loss", loss, self.patience_validation)
        if self._since:
            mean = sum(self._since) / len(self._since)
            findings += self._judged(step, "train loss", mean, self.patience_train)
            self._since = []
        return findings

    def _judged(self, step: int, name: str, loss: float, patience: int) -> list[Finding]:
        if loss < self._best.get(name, float("inf")) - self.delta:
            self._best[name], self._waited[name] = loss, 0
            return []
        self._waited[name] = self._waited.get(name, 0) + 1
        if self._waited[name] < patience:
            return []
        best = self._best.get(name, loss)
        told = f"The {name} has not got better by {self.delta:g} for {self._waited[name]} validations: best {best:.4g}."
        advice = "Stop here, or set loop.patience; the best epoch's weights are the ones to keep."
        return [self.found(step, name, loss, best - self.delta, told, advice)]
