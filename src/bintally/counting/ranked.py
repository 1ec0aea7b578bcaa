"""How well scores tell right from wrong, with intervals: the figures that pairs, bins and records share.

Shapes: S scores, of as many questions "is this right?"; those of one bin belong together.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bintally.bundle import Figure
from bintally.counting import metrics
from bintally.counting.bins_report import CurvePoint
from bintally.counting.intervals import bootstrap_all

ESCAPED: Final = 0.10
"""Share of wrong ones that may escape."""

_RESAMPLES: Final = 500  # each resample sorts all scores anew
_CURVE_POINTS: Final = 200


class Resampling(NamedTuple):
    """How intervals are drawn."""

    seed: int
    resamples: int

    def of(self, groups_n: NDArray[Any]) -> dict[str, Any]:
        """As `intervals` takes it."""
        return {"groups_n": groups_n, "seed": self.seed, "resamples": self.resamples}


def ranked(
    scores_s: metrics.Floats, right_s: NDArray[np.bool_], groups_s: NDArray[Any], how: Resampling
) -> tuple[Figure, Figure]:
    """AUROC, and the share of right ones accepted while 10% of the wrong ones escape; by chance 0.5 and 0.1."""

    def figures(chosen: NDArray[np.intp]) -> tuple[float, float]:
        right = right_s[chosen]
        if right.all() or not right.any():  # a resample that says nothing: chance
            return 0.5, ESCAPED
        found = metrics.roc(scores_s[chosen], right)
        return found.auroc, found.accepted_at(ESCAPED)

    few = how._replace(resamples=min(how.resamples, _RESAMPLES))
    auroc, accepted = bootstrap_all(figures, len(scores_s), **few.of(groups_s))
    return auroc, accepted


def ranked_counts(
    probabilities_nk: metrics.Floats, labels_n: metrics.Ints, groups_n: NDArray[Any], how: Resampling
) -> dict[str, Figure]:
    """`ranked`, of every count of every photo as a record that it might have."""
    scores_s, right_s = metrics.record_scores(probabilities_nk, labels_n)
    auroc, accepted = ranked(scores_s, right_s, np.repeat(groups_n, np.shape(probabilities_nk)[1]), how)
    return {"auroc": auroc, "accepted": accepted}


def curve(found: metrics.Roc) -> tuple[CurvePoint, ...]:
    """A curve's points, thinned to what a plot can show."""
    shown = np.unique(np.linspace(0, len(found.threshold_t) - 1, _CURVE_POINTS).round().astype(int))
    columns = (found.threshold_t[shown], found.escaped_t[shown], found.accepted_t[shown])
    return tuple(CurvePoint(*point) for point in zip(*(column.tolist() for column in columns), strict=True))
