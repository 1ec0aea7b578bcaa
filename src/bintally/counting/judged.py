"""What can be said of judged photos: each part of an evaluation's report from the same distributions and labels.

Shapes: N photos judged, K counts asked about.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bintally.counting import metrics
from bintally.counting.intervals import bootstrap_all, bootstrap_mean, share
from bintally.counting.report import Bin, Calibration, CurvePoint, PerCount, Selective, Sets, Shown
from bintally.records import CountEstimate

RISKS: Final = (0.05, 0.10, 0.20)
"""Errors among accepted photos for which the share that can be accepted is told."""

_CURVE_POINTS: Final = 200
_CURVE_RESAMPLES: Final = 300  # each resample sorts all photos anew
_SUREST_OF_A_COUNT: Final = 3


@dataclass(frozen=True)
class Judged:
    """The photos that could be read, row by row: manifest, answers and labels."""

    table: pl.DataFrame
    keys: tuple[str, ...]
    answers: list[CountEstimate]
    probabilities_nk: NDArray[np.float64]
    labels_n: NDArray[np.intp]
    values_k: NDArray[np.float64]
    groups_n: NDArray[Any]  # the bin a photo is of; a photo of unknown group stands for itself


def per_count(judged: Judged, matrix_kk: NDArray[np.int64]) -> tuple[PerCount, ...]:
    """Each count's recall and precision, with Wilson intervals: a count may have few photos."""
    expected_n = metrics.expected(judged.probabilities_nk, judged.values_k)
    rows = []
    for k, key in enumerate(judged.keys):
        right, recorded, counted = (int(n) for n in (matrix_kk[k, k], matrix_kk[k].sum(), matrix_kk[:, k].sum()))
        rows.append(
            PerCount(
                key,
                recorded,
                counted,
                share(right, recorded) if recorded else None,
                share(right, counted) if counted else None,
                float(expected_n[judged.labels_n == k].mean()) if recorded else None,
            )
        )
    return tuple(rows)


def calibration(judged: Judged, seed: int) -> Calibration:
    """Reliability and ECE, with the ECE that chance alone would show."""
    found = metrics.reliability(judged.probabilities_nk, judged.labels_n)
    bins = zip(found.confidence_b.tolist(), found.accuracy_b.tolist(), found.photos_b.tolist(), strict=True)
    return Calibration(
        ece=found.ece,
        ece_if_calibrated=metrics.ece_if_calibrated(judged.probabilities_nk, seed=seed),
        bins=tuple(Bin(sure, share(round(right * photos), photos), photos) for sure, right, photos in bins),
    )


def selective(judged: Judged, *, seed: int, resamples: int) -> Selective:
    """The risk-coverage curve and what can be read off it, resampled by bin."""

    def curve(chosen: NDArray[np.intp]) -> metrics.RiskCoverage:
        return metrics.risk_coverage(judged.probabilities_nk[chosen], judged.labels_n[chosen])

    def readings(chosen: NDArray[np.intp]) -> list[float]:
        found = curve(chosen)
        return [found.aurc, *(found.coverage_at(risk) for risk in RISKS)]

    photos, resamples = len(judged.labels_n), min(resamples, _CURVE_RESAMPLES)
    aurc, *coverage = bootstrap_all(readings, photos, groups_n=judged.groups_n, seed=seed, resamples=resamples)
    return Selective(
        aurc=aurc,
        coverage_at={f"{risk:.2f}": share for risk, share in zip(RISKS, coverage, strict=True)},
        curve=_thinned(curve(np.arange(photos))),
    )


def _thinned(curve: metrics.RiskCoverage) -> tuple[CurvePoint, ...]:
    shown = np.unique(np.linspace(0, len(curve.risk_t) - 1, _CURVE_POINTS).round().astype(int))
    columns = (curve.threshold_t[shown], curve.coverage_t[shown], curve.risk_t[shown])
    return tuple(CurvePoint(*point) for point in zip(*(column.tolist() for column in columns), strict=True))


def sets(judged: Judged, *, promised: float, seed: int, resamples: int) -> Sets:
    """The coverage and size of the sets the serving path answered with."""
    held = [key in answer.count_set for key, answer in zip(judged.table["key"], judged.answers, strict=True)]
    sizes = [len(answer.count_set) for answer in judged.answers]
    resampling: dict[str, Any] = {"groups_n": judged.groups_n, "seed": seed, "resamples": resamples}
    return Sets(
        promised=promised,
        coverage=bootstrap_mean(np.array(held), **resampling),
        mean_size=bootstrap_mean(np.array(sizes), **resampling),
    )


def gallery(judged: Judged, *, worst: int, seed: int) -> tuple[tuple[Shown, ...], tuple[Shown, ...]]:
    """The `worst` mistakes (furthest off, then surest) and for each count the surest that were right; seeded ties."""
    if not worst:
        return (), ()
    counted_n, sure_n = metrics.counted(judged.probabilities_nk), metrics.confidence(judged.probabilities_nk)
    off_n = np.abs(judged.values_k[counted_n] - judged.values_k[judged.labels_n])
    right_n = counted_n == judged.labels_n
    chance_n = np.random.default_rng(seed).random(len(off_n))
    by_worst, by_surest = np.lexsort((chance_n, -sure_n, -off_n)), np.lexsort((chance_n, -sure_n))
    mistakes = by_worst[~right_n[by_worst]][:worst]
    surest = [
        n
        for k in range(len(judged.keys))
        for n in by_surest[(right_n & (counted_n == k))[by_surest]][:_SUREST_OF_A_COUNT]
    ]
    return tuple(_shown(judged, int(n)) for n in mistakes), tuple(_shown(judged, int(n)) for n in surest)


def _shown(judged: Judged, n: int) -> Shown:
    row, answer = judged.table.row(n, named=True), judged.answers[n]
    assert answer.count is not None  # noqa: S101 - only photos without an error are judged
    return Shown(
        bin_image_id=row["bin_image_id"],
        path=row["path"],
        recorded_count=row["recorded_count"],
        count=answer.count,
        expected_count=float(answer.expected_count or 0.0),
        probabilities=answer.probabilities,
        abstain=answer.abstain,
    )
