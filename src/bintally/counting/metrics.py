"""How good a model's distributions over counts are: pure numpy, shared by training and evaluation.

Shapes: N photos, K keys (counts asked about), B bins.
    probabilities_nk  float [N, K], rows sum to 1
    labels_n          int [N], index of the recorded count among the keys
    values_k          float [K], what each key counts as; an open top such as "6+" has one value (the card's)

A figure of a whole set is mostly the mean of a term each photo has (`*_terms`), so that `intervals` can resample it.
Every figure is the same for any order of the photos: ties in confidence are kept together, never broken by position.
"""

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bintally.bundle import Figure
from bintally.counting.intervals import RESAMPLES, bootstrap_mean
from bintally.counting.intervals import bootstrap as bootstrap

Floats: TypeAlias = NDArray[np.floating[Any]]
Ints: TypeAlias = NDArray[np.integer[Any]]

ECE_BINS: Final = 15
_LEAST_PROBABILITY: Final = 1e-12  # a certain mistake costs 27.6 nats in the log loss, not infinity


def counted(probabilities_nk: Floats) -> NDArray[np.intp]:
    """Index of the most probable count, [N]; the lower count wins a tie."""
    return np.asarray(np.argmax(probabilities_nk, axis=1), np.intp)


def confidence(probabilities_nk: Floats) -> NDArray[np.float64]:
    """Probability of the most probable count, [N]."""
    return np.asarray(np.max(probabilities_nk, axis=1), np.float64)


def expected(probabilities_nk: Floats, values_k: Floats) -> NDArray[np.float64]:
    """Mean count of each distribution, [N]."""
    means: NDArray[np.float64] = np.asarray(probabilities_nk, np.float64) @ np.asarray(values_k, np.float64)
    return means


def correct_terms(probabilities_nk: Floats, labels_n: Ints) -> NDArray[np.float64]:
    """1 where the most probable count is the recorded one, else 0."""
    return np.asarray(counted(probabilities_nk) == labels_n, np.float64)


def error_terms(probabilities_nk: Floats, labels_n: Ints, values_k: Floats) -> NDArray[np.float64]:
    """Expected minus recorded count, in items."""
    errors: NDArray[np.float64] = expected(probabilities_nk, values_k) - np.asarray(values_k, np.float64)[labels_n]
    return errors


def within_one_terms(probabilities_nk: Floats, labels_n: Ints, values_k: Floats) -> NDArray[np.float64]:
    """1 where the most probable count is at most one item off; an open top is as far off as its value is."""
    values = np.asarray(values_k, np.float64)
    return (np.abs(values[counted(probabilities_nk)] - values[labels_n]) <= 1.0 + 1e-9).astype(np.float64)


def log_loss_terms(probabilities_nk: Floats, labels_n: Ints) -> NDArray[np.float64]:
    """Minus the log probability of the recorded count, in nats."""
    chosen = np.asarray(probabilities_nk, np.float64)[np.arange(len(labels_n)), labels_n]
    return -np.log(np.maximum(chosen, _LEAST_PROBABILITY))


def accuracy(probabilities_nk: Floats, labels_n: Ints) -> float:
    """Share of photos whose most probable count is the recorded one."""
    return _mean(correct_terms(probabilities_nk, labels_n))


def rmse(probabilities_nk: Floats, labels_n: Ints, values_k: Floats) -> float:
    """Root mean squared error of the expected count, in items."""
    return float(np.sqrt(_mean(error_terms(probabilities_nk, labels_n, values_k) ** 2)))


def mae(probabilities_nk: Floats, labels_n: Ints, values_k: Floats) -> float:
    """Mean absolute error of the expected count, in items."""
    return _mean(np.abs(error_terms(probabilities_nk, labels_n, values_k)))


def within_one(probabilities_nk: Floats, labels_n: Ints, values_k: Floats) -> float:
    """Share of photos whose most probable count is at most one item off. Never a measure of record accuracy."""
    return _mean(within_one_terms(probabilities_nk, labels_n, values_k))


def log_loss(probabilities_nk: Floats, labels_n: Ints) -> float:
    """Mean negative log likelihood of the recorded counts, in nats."""
    return _mean(log_loss_terms(probabilities_nk, labels_n))


def confusion(probabilities_nk: Floats, labels_n: Ints) -> NDArray[np.int64]:
    """Photos by recorded count (rows) and most probable count (columns), [K, K]."""
    keys = np.shape(probabilities_nk)[1]
    cells = np.asarray(labels_n) * keys + counted(probabilities_nk)
    return np.bincount(cells, minlength=keys * keys).reshape(keys, keys).astype(np.int64)


def recall_per_count(matrix_kk: Ints) -> NDArray[np.float64]:
    """Of the photos recorded as a count, the share counted so, [K]; NaN where there are none."""
    return _share(np.diag(matrix_kk), matrix_kk.sum(axis=1))


def precision_per_count(matrix_kk: Ints) -> NDArray[np.float64]:
    """Of the photos counted so, the share recorded as that count, [K]; NaN where there are none."""
    return _share(np.diag(matrix_kk), matrix_kk.sum(axis=0))


@dataclass(frozen=True)
class Reliability:
    """Confidence against what came true, in bins of about equally many photos; empty bins are left out. Each [B]."""

    confidence_b: NDArray[np.float64]
    accuracy_b: NDArray[np.float64]
    photos_b: NDArray[np.int64]

    @property
    def ece(self) -> float:
        """Mean distance of confidence and accuracy, weighted by photos."""
        return float(np.average(np.abs(self.confidence_b - self.accuracy_b), weights=self.photos_b))


def reliability(probabilities_nk: Floats, labels_n: Ints, *, bins: int = ECE_BINS) -> Reliability:
    """Top-label reliability in `bins` equal-mass bins (edges are quantiles of the confidence)."""
    sure = confidence(probabilities_nk)
    bin_n, photos_b = _equal_mass(sure, bins)
    sums = [np.bincount(bin_n, terms, len(photos_b)) for terms in (sure, correct_terms(probabilities_nk, labels_n))]
    return Reliability(sums[0] / photos_b, sums[1] / photos_b, photos_b)


def ece(probabilities_nk: Floats, labels_n: Ints, *, bins: int = ECE_BINS) -> float:
    """Expected calibration error of the most probable count, over equal-mass bins (Nguyen & O'Connor 2015).

    Equal mass, because equal-width bins are nearly empty where a counting model is seldom sure, and an empty bin's
    noise counts as miscalibration. Even a perfect model has an ECE above 0: see `ece_if_calibrated`.
    """
    return reliability(probabilities_nk, labels_n, bins=bins).ece


def ece_if_calibrated(
    probabilities_nk: Floats, *, bins: int = ECE_BINS, percentile: float = 95, draws: int = 1000, seed: int = 0
) -> float:
    """The `percentile` of the ECE that a perfectly calibrated model with the same confidences would show by chance.

    An ECE below it is no evidence of miscalibration. Each draw makes a photo right with its own confidence.
    """
    sure = confidence(probabilities_nk)
    bin_n, photos_b = _equal_mass(sure, bins)
    order = np.argsort(bin_n, kind="stable")
    starts = np.concatenate([[0], np.cumsum(photos_b)[:-1]])
    sure = sure[order]
    rng = np.random.default_rng(seed)
    step = max(1, 4_000_000 // len(sure))  # 32 MB of random numbers at a time
    seen = []
    for first in range(0, draws, step):
        right = rng.random((min(step, draws - first), len(sure))) < sure
        gaps = np.add.reduceat(right - sure, starts, axis=1)  # summed over each bin: photos x (accuracy - confidence)
        seen.append(np.abs(gaps).sum(axis=1) / len(sure))
    return float(np.percentile(np.concatenate(seen), percentile))


@dataclass(frozen=True)
class RiskCoverage:
    """What accepting only the surest photos buys: one point for each distinct confidence, surest first. Each [T]."""

    threshold_t: NDArray[np.float64]  # accept a photo whose confidence is at least this ...
    coverage_t: NDArray[np.float64]  # ... which is this share of the photos ...
    risk_t: NDArray[np.float64]  # ... of which this share is counted wrong
    aurc: float  # mean risk over all coverages 1/N .. 1; ties accepted in random order

    def coverage_at(self, risk: float) -> float:
        """The largest share of photos that can be accepted with at most this share of them wrong.

        The threshold is chosen in hindsight on the same photos: a promise needs one fixed on other photos.
        """
        fits = self.risk_t <= risk + 1e-12
        return float(self.coverage_t[fits].max(initial=0.0))


def risk_coverage(probabilities_nk: Floats, labels_n: Ints) -> RiskCoverage:
    """Error among the surest photos against their share (El-Yaniv & Wiener 2010; AURC: Geifman et al. 2019)."""
    sure = confidence(probabilities_nk)
    wrong = 1.0 - correct_terms(probabilities_nk, labels_n)
    threshold_t, group_n = np.unique(-sure, return_inverse=True)  # negated: surest first
    accepted_t = np.cumsum(np.bincount(group_n))
    wrong_t = np.cumsum(np.bincount(group_n, wrong))
    accepted_n = np.arange(1, len(sure) + 1)
    wrong_n = np.interp(accepted_n, np.concatenate([[0], accepted_t]), np.concatenate([[0.0], wrong_t]))
    return RiskCoverage(-threshold_t, accepted_t / len(sure), wrong_t / accepted_t, _mean(wrong_n / accepted_n))


@dataclass(frozen=True)
class Roc:
    """What accepting whatever scores high lets through: one point for each distinct score, highest first. Each [T]."""

    threshold_t: NDArray[np.float64]  # accept what scores at least this ...
    escaped_t: NDArray[np.float64]  # ... which is this share of the wrong ones ...
    accepted_t: NDArray[np.float64]  # ... and this share of the right ones

    @property
    def auroc(self) -> float:
        """P(a right one scores higher than a wrong one), ties counting half."""
        escaped, accepted = self._from_nothing()
        return float(np.sum(np.diff(escaped) * (accepted[1:] + accepted[:-1]) / 2))

    def accepted_at(self, escaped: float) -> float:
        """The share of right ones accepted while this share of the wrong ones escapes; of equal scores, a random part.

        The threshold is chosen in hindsight on the same scores: a promise needs one fixed on others.
        """
        escaped_t, accepted_t = self._from_nothing()
        return float(np.interp(escaped + 1e-12, escaped_t, accepted_t))

    def threshold_at(self, escaped: float) -> float:
        """The lowest score at which at most this share of the wrong ones escapes; infinity where there is none."""
        fits = self.threshold_t[self.escaped_t <= escaped + 1e-12]
        return float(fits.min(initial=np.inf))

    def _from_nothing(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.concatenate([[0.0], self.escaped_t]), np.concatenate([[0.0], self.accepted_t])


def roc(scores_n: Floats, right_n: NDArray[np.bool_]) -> Roc:
    """The receiver operating characteristic of scores [N] that should be high where `right_n` [N].

    NaN where there is nothing right, or nothing wrong.
    """
    threshold_t, place_n = np.unique(-np.asarray(scores_n, np.float64), return_inverse=True)
    of_right, of_wrong = (np.cumsum(np.bincount(place_n, part, len(threshold_t))) for part in (right_n, ~right_n))
    rights, wrongs = np.count_nonzero(right_n), np.count_nonzero(~right_n)
    nothing_t = np.full(len(threshold_t), np.nan)
    return Roc(
        -threshold_t,
        of_wrong / wrongs if wrongs else nothing_t,
        of_right / rights if rights else nothing_t,
    )


def record_scores(probabilities_nk: Floats, labels_n: Ints) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Every count of every photo as a record that it might have: its probability, and whether it is right; [N * K]."""
    probabilities = np.asarray(probabilities_nk, np.float64)
    right_nk = np.arange(probabilities.shape[1]) == np.asarray(labels_n)[:, None]
    return probabilities.ravel(), right_nk.ravel()


def set_coverage(sets_nk: NDArray[np.bool_], labels_n: Ints) -> float:
    """Share of photos whose recorded count is in their set."""
    return _mean(sets_nk[np.arange(len(labels_n)), labels_n])


def set_size(sets_nk: NDArray[np.bool_]) -> float:
    """Mean number of counts in a set."""
    return _mean(sets_nk.sum(axis=1))


def prior(labels_n: Ints, keys: int) -> NDArray[np.float64]:
    """Share of each count among the labels, [K]; even where there are no labels at all."""
    counts_k = np.bincount(labels_n, minlength=keys).astype(np.float64)
    return counts_k / counts_k.sum() if counts_k.sum() else np.full(keys, 1 / keys)


def blind_baselines(prior_k: Floats, labels_n: Ints, values_k: Floats) -> dict[str, float]:
    """The best figures of answers that never look at a photo: fitted on `prior_k`, judged on `labels_n`.

    Accuracy and within-one are those of the best constant count, RMSE of the mean, MAE of the median, log loss of
    the prior itself, each the optimum for its figure if photos came as `prior_k` says.
    """
    prior_k, values = np.asarray(prior_k, np.float64) / np.sum(prior_k), np.asarray(values_k, np.float64)
    near_kk = np.abs(values[:, None] - values[None, :]) <= 1.0 + 1e-9
    errors_n = values[labels_n]
    median = values[np.searchsorted(np.cumsum(prior_k), 0.5 - 1e-12)]
    return {
        "accuracy": _mean(labels_n == np.argmax(prior_k)),
        "within_one": _mean(near_kk[np.argmax(near_kk @ prior_k), labels_n]),
        "rmse": float(np.sqrt(_mean((errors_n - values @ prior_k) ** 2))),
        "mae": _mean(np.abs(errors_n - median)),
        "log_loss": _mean(-np.log(np.maximum(prior_k[labels_n], _LEAST_PROBABILITY))),
    }


def headline(
    probabilities_nk: Floats,
    labels_n: Ints,
    values_k: Floats,
    *,
    groups_n: NDArray[Any] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Figure]:
    """Accuracy, within-one, RMSE, MAE and log loss, each with its 95% interval, resampled by group where given."""
    errors = error_terms(probabilities_nk, labels_n, values_k)
    terms = {
        "accuracy": correct_terms(probabilities_nk, labels_n),
        "within_one": within_one_terms(probabilities_nk, labels_n, values_k),
        "rmse": errors**2,
        "mae": np.abs(errors),
        "log_loss": log_loss_terms(probabilities_nk, labels_n),
    }
    return {
        name: bootstrap_mean(
            term, groups_n=groups_n, finish=np.sqrt if name == "rmse" else np.positive, resamples=resamples, seed=seed
        )
        for name, term in terms.items()
    }


def _equal_mass(sure_n: NDArray[np.float64], bins: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Bin of each photo, empty bins left out, and photos per bin; equal confidences share a bin."""
    edges = np.quantile(sure_n, np.linspace(0, 1, bins + 1)[1:-1])
    bins_n = np.searchsorted(edges, sure_n, side="right")
    _, bin_n, photos_b = np.unique(bins_n, return_inverse=True, return_counts=True)
    return bin_n, photos_b.astype(np.int64)


def _mean(terms_n: NDArray[Any]) -> float:
    return float(np.mean(terms_n, dtype=np.float64)) if len(terms_n) else float("nan")


def _share(part_k: Ints, whole_k: Ints) -> NDArray[np.float64]:
    shares = np.full(len(part_k), np.nan)
    np.divide(part_k, whole_k, out=shares, where=whole_k > 0)
    return shares
