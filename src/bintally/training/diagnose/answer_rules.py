"""Rules about what goes in and what comes out: photos, labels, answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, stack

from bintally.training.diagnose.finding import Finding
from bintally.training.diagnose.rule import Figures, Rule, Source
from bintally.training.diagnose.seen import Mode, Sight, pure_labels

_FEW_PHOTOS: Final = 100
"""Of fewer photos than these, nothing is said."""

_TRAIN_PAIRS: Final = 500
"""Answers of train that make a confusion matrix where there is no validation."""


def _pairs(sight: Sight) -> dict[str, Tensor]:
    """Labels, then predictions, of one look; -1 for photos that are mixed."""
    if sight.labels is None or sight.logits is None:
        return {}
    labels_n = pure_labels(sight.labels)
    return {sight.mode: stack([labels_n.to(sight.logits.device), sight.logits.argmax(dim=1)])}


def _split(values: list[float]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    labels_n, predictions_n = np.array(values, dtype=np.int64).reshape(2, -1)
    return labels_n[labels_n >= 0], predictions_n[labels_n >= 0]


@dataclass(kw_only=True)
class ClassImbalance(Rule):
    """Of the last `samples` train labels, one class has more than `threshold_imbalance` times as many as another.

    Or more than a share `threshold_misprediction` of a class's photos are mistaken *because* they are few: the class
    has less than half of an even share, and over all classes fewer are mistaken (else the training has just begun).
    Photos are counted at looks, and anew after each `samples`.
    """

    threshold_imbalance: float = 10.0
    threshold_misprediction: float = 0.7
    samples: int = 500

    looks_at: ClassVar[frozenset[Source]] = frozenset({"labels", "logits"})

    def __post_init__(self) -> None:
        self._classes: int = 0
        self._all_seen: bool = False
        self._labels: list[NDArray[np.int64]] = []
        self._predictions: list[NDArray[np.int64]] = []

    def measure(self, sight: Sight) -> dict[str, Tensor]:
        """Labels and predictions; labels alone where there are no logits."""
        if sight.mode == "eval" or sight.labels is None:
            return {}
        if sight.logits is not None:
            self._classes = sight.logits.shape[1]
            return _pairs(sight)
        labels_n = pure_labels(sight.labels)
        return {"train": stack([labels_n, labels_n])}

    def judge(self, step: int, figures: Figures) -> list[Finding] | None:
        """Judges once enough photos were seen."""
        for values in figures.values():
            labels_n, predictions_n = _split(values)
            self._labels.append(labels_n)
            self._predictions.append(predictions_n)
        return None if sum(map(len, self._labels)) < self.samples else self._judged(step)

    def finish(self, step: int, weights: Mapping[str, Tensor]) -> list[Finding] | None:
        """Judges a training of fewer photos."""
        self._all_seen = self._all_seen or sum(map(len, self._labels)) < _FEW_PHOTOS
        return None if self._all_seen else self._judged(step)

    def _judged(self, step: int) -> list[Finding]:
        self._all_seen = True
        labels_n, predictions_n = np.concatenate(self._labels), np.concatenate(self._predictions)
        self._labels, self._predictions = [], []
        sizes_k = np.bincount(labels_n, minlength=self._classes)
        return [*self._uneven(step, sizes_k), *self._mistaken(step, sizes_k, labels_n, predictions_n)]

    def _uneven(self, step: int, sizes_k: NDArray[np.int64]) -> list[Finding]:
        few, many = int(sizes_k.argmin()), int(sizes_k.argmax())
        ratio = float(sizes_k[many] / max(sizes_k[few], 1))
        if ratio <= self.threshold_imbalance:
            return []
        told = (
            f"Classes are {ratio:.3g} to 1: {sizes_k[many]} photos of class {many}, {sizes_k[few]} of class {few}, "
            f"among the last {sizes_k.sum()}."
        )
        advice = "Draw classes evenly or weigh the loss (balance.method), or ask for fewer classes."
        return [self.found(step, f"class {few}", ratio, self.threshold_imbalance, told, advice)]

    def _mistaken(
        self, step: int, sizes_k: NDArray[np.int64], labels_n: NDArray[np.int64], predictions_n: NDArray[np.int64]
    ) -> list[Finding]:
        wrong_n = labels_n != predictions_n
        if wrong_n.mean() > self.threshold_misprediction:
            return []
        findings = []
        for label in np.flatnonzero((sizes_k > 0) & (sizes_k < sizes_k.mean() / 2)):
            share = float(wrong_n[labels_n == label].mean())
            if share > self.threshold_misprediction:
                told = (
                    f"{share:.0%} of the photos of class {label} are mistaken, {wrong_n.mean():.0%} of all: there are "
                    f"only {sizes_k[label]} of it in {len(labels_n)}."
                )
                advice = "Draw that class more often or weigh it more (balance.method), or fetch more photos of it."
                findings.append(
                    self.found(step, f"answers for class {label}", share, self.threshold_misprediction, told, advice)
                )
        return findings


@dataclass(kw_only=True)
class Confusion(Rule):
    """At the end: of the answers "i", a share below `min_diag` is right, or above `max_off_diag` is really one "j".

    Judged on the last validation; without validations, on the last 500 or more train photos looked at. The guide
    divides a diagonal value by the diagonal's sum, which no two classes could pass; here it is the column's sum, as off
    the diagonal. Its defaults ask for 90% right answers of every class: more than counting photos can reach.
    """

    category_no: int | None = None
    min_diag: float = 0.9
    max_off_diag: float = 0.1

    looks_at: ClassVar[frozenset[Source]] = frozenset({"labels", "logits"})

    def __post_init__(self) -> None:
        self._gathered: dict[str, list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = {"train": [], "eval": []}
        self._last: dict[str, NDArray[np.int64]] = {}

    def measure(self, sight: Sight) -> dict[str, Tensor]:
        """Labels and predictions."""
        return _pairs(sight)

    def judge(self, step: int, figures: Figures) -> None:
        """Gathers them."""
        for mode, values in figures.items():
            self._gathered[mode].append(_split(values))
        if sum(len(labels_n) for labels_n, _ in self._gathered["train"]) >= _TRAIN_PAIRS:
            self._fill("train")

    def hear(self, step: int, mode: Mode, loss: float, plain: float | None) -> None:
        """A validation is over."""
        if mode == "eval":
            self._fill("eval")

    def _fill(self, mode: str) -> None:
        gathered, self._gathered[mode] = self._gathered[mode], []
        if not gathered:
            return
        labels_n, predictions_n = (np.concatenate(parts) for parts in zip(*gathered, strict=True))
        classes = self.category_no or int(max(labels_n.max(initial=0), predictions_n.max(initial=0))) + 1
        matrix_kk = np.zeros((classes, classes), np.int64)
        np.add.at(matrix_kk, (labels_n, predictions_n), 1)
        self._last[mode] = matrix_kk

    def finish(self, step: int, weights: Mapping[str, Tensor]) -> list[Finding] | None:
        """Judges the last matrix."""
        matrix_kk = self._last.get("eval", self._last.get("train"))
        if matrix_kk is None:
            return None
        findings = []
        shares_kk = matrix_kk / np.maximum(matrix_kk.sum(axis=0), 1)
        for answer in np.flatnonzero(matrix_kk.sum(axis=0)):
            right = float(shares_kk[answer, answer])
            if right < self.min_diag:
                told = f"Of the answers {answer}, {right:.0%} are right: less than {self.min_diag:.0%}."
                advice = "Look at photos of both classes beside each other; more of them, or more pixels, may help."
                findings.append(self.found(step, f"answer {answer}", right, self.min_diag, told, advice))
            for label in np.flatnonzero(shares_kk[:, answer] > self.max_off_diag):
                if label != answer:
                    share = float(shares_kk[label, answer])
                    told = f"Of the answers {answer}, {share:.0%} are really {label}."
                    advice = "See whether their labels are told apart by what a photo shows."
                    name = f"answer {answer} for {label}"
                    findings.append(self.found(step, name, share, self.max_off_diag, told, advice))
        return findings


@dataclass(kw_only=True)
class CheckInputImages(Rule):
    """The mean of a colour channel over `threshold_samples` photos is further from 0 than `threshold_mean`.

    `channel` is the dimension of the colours. Inputs are judged as they are handed in: raw pixels are never near 0, and
    normalised photos of dark shelves may be further from it than any illness would explain.
    """

    threshold_mean: float = 0.2
    threshold_samples: int = 500
    channel: int = 1

    looks_at: ClassVar[frozenset[Source]] = frozenset({"inputs"})

    def __post_init__(self) -> None:
        self._sums: NDArray[np.float64] | None = None
        self._seen: int = 0

    def measure(self, sight: Sight) -> dict[str, Tensor]:
        """Means of one batch by channel, until enough photos were seen."""
        if sight.inputs is None or sight.mode == "eval" or self._seen >= self.threshold_samples:
            return {}
        others = [axis for axis in range(sight.inputs.ndim) if axis != min(self.channel, sight.inputs.ndim - 1)]
        return {str(len(sight.inputs)): sight.inputs.detach().float().mean(dim=others)}

    def judge(self, step: int, figures: Figures) -> list[Finding] | None:
        """Judges once enough photos were seen."""
        for photos, means in figures.items():
            self._sums = int(photos) * np.array(means) + (0.0 if self._sums is None else self._sums)
            self._seen += int(photos)
        return None if self._seen < self.threshold_samples else self._judged(step)

    def finish(self, step: int, weights: Mapping[str, Tensor]) -> list[Finding] | None:
        """Judges a training of fewer photos."""
        return self._judged(step) if _FEW_PHOTOS <= self._seen < self.threshold_samples else None

    def _judged(self, step: int) -> list[Finding]:
        if self._sums is None:
            return []
        means_c = self._sums / self._seen
        worst = int(np.abs(means_c).argmax())
        value = float(abs(means_c[worst]))
        if value <= self.threshold_mean:
            return []
        told = f"Channel {worst} of the inputs has a mean of {means_c[worst]:.3g} over {self._seen} photos, not near 0."
        advice = "Normalise photos as the network was pretrained: subtract a mean, divide by a standard deviation."
        return [self.found(step, "inputs", value, self.threshold_mean, told, advice)]
