"""How many recorded counts are likely wrong, which, and how far that can be believed.

Confident learning (`confident`) on what logistic heads say of frozen features (`out_of_sample`). It takes every
confident mistake of the model for one of the label, so a weak model finds too many. Hence the check: some labels are
made wrong on purpose, and the report says how many of them are found and how far the estimate moves.
"""

from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bintally.counting.intervals import share
from bintally.errors import TrainingError
from bintally.progress import SILENT, Progress
from bintally.training.diagnose.before import confident
from bintally.training.diagnose.before.out_of_sample import choose_penalty, grouped_folds, out_of_sample

FOLDS: Final = 5
PLANTED: Final = 0.1

_RECALLS: Final = np.linspace(0.1, 0.9, 17)  # of the planted; fewer are too few to divide by
_FOUND: Final = 0.5  # of the planted, at least
_LIFT: Final = 2.0  # and so many times as often as another photo
_RISE: Final = (0.5, 1.5)  # of the rise that planting should make

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class Suspect(msgspec.Struct, frozen=True):
    """A photo whose recorded count is confidently another one. `row` is that of the table."""

    row: int
    likely: int
    """Index of the likely count's key."""
    probability: float
    """Of the likely count."""
    recorded_probability: float


class Planted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of labels that were made wrong on purpose: each another count, all others as likely."""

    photos: int
    share: float
    found: float
    """Share of them among the suspicious."""
    found_next: float | None
    """Of those moved by one count; None: there are none."""
    found_further: float | None
    others_suspicious: float
    """Share of the other photos among the suspicious: what chance alone would find."""
    ranked_above: float
    """Probability that one of them is more suspicious than another photo (AUC; 0.5: no better than chance)."""
    estimate: float
    """The estimated share of wrong labels with them."""
    expected: float
    """What it would be if the estimate without them were right."""


class LabelNoise(msgspec.Struct, frozen=True, kw_only=True):
    """The estimate, the suspicious photos (most suspicious first), and what the planted ones say about both."""

    photos: int
    bins: int
    estimate: float
    """Share of photos whose recorded count is estimated to be wrong."""
    at_most: float
    """A bound from the planted ones, if records go wrong as they did: at random, and no easier to see."""
    wrong_by_key: dict[str, float]
    """By recorded count, the estimated share of wrong ones."""
    accuracy: float
    """Of the heads, out of sample."""
    blind_accuracy: float
    """Of always saying the commonest count."""
    suspects: tuple[Suspect, ...]
    planted: Planted
    folds: int
    penalty: float

    @property
    def rise(self) -> float:
        """How far the estimate rose with the planted ones, of how far it should have."""
        wanted = self.planted.expected - self.estimate
        return (self.planted.estimate - self.estimate) / wanted if wanted > 0 else 0.0

    @property
    def believable(self) -> bool:
        """Whether the planted ones are found and counted well enough to take the estimate for one."""
        found = self.planted.found >= max(_FOUND, _LIFT * self.planted.others_suspicious)
        return found and _RISE[0] <= self.rise <= _RISE[1]

    def sentence(self) -> str:
        """The estimate, and how far to believe it, in words."""
        planted = self.planted
        check = (
            f"of {planted.photos:,} labels made wrong on purpose {planted.found:.0%} are among the suspicious "
            f"({planted.others_suspicious:.0%} of the others are)"
        )
        if self.believable:
            return (
                f"About {self.estimate:.1%} of the recorded counts are wrong, at most {self.at_most:.1%}; "
                f"{check}, and the estimate rises by {self.rise:.0%} of what it should."
            )
        return (
            "How many recorded counts are wrong can't be told (if they go wrong at random, not more than about "
            f"{self.at_most:.0%}): the features alone are right on {self.accuracy:.0%} (blind: "
            f"{self.blind_accuracy:.0%}), so most of the {self.estimate:.0%} that look wrong are the model's own "
            f"mistakes. As a check, {check}."
        )


def label_noise(
    features_nf: Tensor,
    labels_n: Indices,
    groups_n: NDArray[Any],
    keys: tuple[str, ...],
    *,
    folds: int = FOLDS,
    planted_share: float = PLANTED,
    seed: int = 0,
    progress: Progress = SILENT,
) -> LabelNoise:
    """Estimates wrong labels among photos with `features_nf` [N, F], recorded `labels_n` [N] and bins `groups_n` [N].

    Raises:
        TrainingError: fewer bins than folds.
    """
    classes, bins = len(keys), len(np.unique(groups_n))
    if bins < folds:
        raise TrainingError(
            f"{bins} bins can't be held out in {folds} folds.", hint="Take more photos, or leave the labels check out."
        )
    fold_n = grouped_folds(labels_n, groups_n, folds=folds, seed=seed)
    wrong_n = planted_labels(labels_n, classes, share=planted_share, seed=seed)
    with progress.task("labels", total=2 * folds, unit="heads") as task:
        penalty = choose_penalty(features_nf, labels_n, fold_n, classes=classes)
        probabilities_nk, with_planted_nk = (
            out_of_sample(features_nf, told_n, fold_n, classes=classes, penalty=penalty, task=task)
            for told_n in (labels_n, wrong_n)
        )
    likely_n = confident.likely_labels(probabilities_nk, labels_n)
    joint_kk = confident.joint(likely_n, labels_n, classes)
    estimate = confident.wrong_share(joint_kk)
    wrong_k = 1 - np.diag(joint_kk) / np.maximum(joint_kk.sum(axis=1), 1e-12)
    return LabelNoise(
        photos=len(labels_n),
        bins=bins,
        estimate=estimate,
        at_most=at_most(confident.suspicion(with_planted_nk, wrong_n), wrong_n != labels_n),
        wrong_by_key=dict(zip(keys, wrong_k.tolist(), strict=True)),
        accuracy=float((probabilities_nk.argmax(axis=1) == labels_n).mean()),
        blind_accuracy=float(np.bincount(labels_n).max() / len(labels_n)),
        suspects=_suspects(probabilities_nk, labels_n, likely_n),
        planted=_planted(with_planted_nk, labels_n, wrong_n, estimate),
        folds=folds,
        penalty=penalty,
    )


def planted_labels(labels_n: Indices, classes: int, *, share: float, seed: int) -> Indices:
    """The labels, but `share` of them (drawn at random, at least one) moved to another, all others as likely."""
    rng = np.random.default_rng([seed, 1])
    chosen = rng.choice(len(labels_n), max(round(share * len(labels_n)), 1), replace=False)
    wrong_n = labels_n.copy()
    wrong_n[chosen] = (labels_n[chosen] + rng.integers(1, classes, len(chosen))) % classes
    return wrong_n


def at_most(suspicion_n: Floats, planted_n: NDArray[np.bool_]) -> float:
    """The largest share of wrong labels among the photos not planted that their `suspicion_n` [N] leaves room for.

    If they were wrong as the planted are, a share w of them would be as suspicious as the planted, so that above any
    threshold stand at least w times the planted's share, which is taken at the low end of its 95% interval. (The
    mixture proportion's upper bound: Blanchard et al. 2010, "Semi-supervised novelty detection", JMLR 11.)
    """
    cuts = np.quantile(suspicion_n[planted_n], 1 - _RECALLS)
    others = (suspicion_n[~planted_n][None, :] >= cuts[:, None]).mean(axis=1)
    found = (suspicion_n[planted_n][None, :] >= cuts[:, None]).sum(axis=1)
    recalled = np.array([share(right, int(planted_n.sum())).low for right in found.tolist()])
    return float(min((others / recalled).min(), 1.0))


def _planted(probabilities_nk: Floats, labels_n: Indices, wrong_n: Indices, before: float) -> Planted:
    classes = probabilities_nk.shape[1]
    likely_n = confident.likely_labels(probabilities_nk, wrong_n)
    suspicious_n = (likely_n >= 0) & (likely_n != wrong_n)
    planted_n = wrong_n != labels_n
    next_n = np.abs(wrong_n - labels_n) == 1
    planted = float(planted_n.mean())
    suspicion_n = confident.suspicion(probabilities_nk, wrong_n)
    return Planted(
        photos=int(planted_n.sum()),
        share=planted,
        found=float(suspicious_n[planted_n].mean()),
        found_next=_mean(suspicious_n[planted_n & next_n]),
        found_further=_mean(suspicious_n[planted_n & ~next_n]),
        others_suspicious=float(suspicious_n[~planted_n].mean()),
        ranked_above=_ranked_above(suspicion_n[planted_n], suspicion_n[~planted_n]),
        estimate=confident.wrong_share(confident.joint(likely_n, wrong_n, classes)),
        expected=before + planted - before * planted * classes / (classes - 1),  # some become right
    )


def _suspects(probabilities_nk: Floats, labels_n: Indices, likely_n: Indices) -> tuple[Suspect, ...]:
    rows = np.flatnonzero((likely_n >= 0) & (likely_n != labels_n))
    margin = probabilities_nk[rows, likely_n[rows]] - probabilities_nk[rows, labels_n[rows]]
    return tuple(
        Suspect(row, int(likely_n[row]), float(probabilities_nk[row, likely_n[row]]), float(given))
        for row in rows[np.argsort(-margin, kind="stable")].tolist()
        for given in (probabilities_nk[row, labels_n[row]],)
    )


def _ranked_above(first: Floats, second: Floats) -> float:
    """Probability that a value of `first` is above one of `second` (ties count half)."""
    ordered = np.sort(second)
    below = np.searchsorted(ordered, first, "left") + np.searchsorted(ordered, first, "right")
    return float(below.mean() / 2 / len(second))


def _mean(values: NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None
