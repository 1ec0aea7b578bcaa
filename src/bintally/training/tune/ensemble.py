"""Which trained networks answer better together: greedy forward selection on val (Caruana et al. 2004, ICML).

Theirs may draw a network twice, which weighs it twice. A bundle averages its networks equally, and one that stood in
the graph twice would be paid for twice with every photo, so each is drawn once here.

Shapes: probabilities_mnk float [M, N, K], what M networks say of N photos; labels_n int [N]; groups_n [N], photos of
one bin.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from bintally.bundle import Figure
from bintally.counting.intervals import bootstrap_mean
from bintally.counting.metrics import log_loss, log_loss_terms

FOLDS: Final = 5

Floats = NDArray[np.float64]
Labels = NDArray[np.integer[Any]]


class Together(msgspec.Struct, frozen=True, kw_only=True):
    """What was selected, best network first, and whether it is worth its time."""

    members: tuple[int, ...]
    gain: Figure | None
    """Log loss on val of the best network alone minus that of several, each selected without the photos it is judged
    on; None where a single network was selected."""

    @property
    def beats_single(self) -> bool:
        """By more than noise: the whole 95% interval of the gain is above 0."""
        return self.gain is not None and self.gain.low > 0


def greedy(probabilities_mnk: Floats, labels_n: Labels, *, most: int) -> tuple[int, ...]:
    """At most `most` networks whose mean has the least log loss, added one by one while each makes it less.

    Never worse than the best one alone on these photos.
    """
    chosen: tuple[int, ...] = ()
    least = np.inf
    while len(chosen) < most:
        rest = [member for member in range(len(probabilities_mnk)) if member not in chosen]
        losses = {m: log_loss(probabilities_mnk[[*chosen, m]].mean(axis=0), labels_n) for m in rest}
        best = min(losses, key=lambda m: losses[m], default=None)
        if best is None or losses[best] >= least:
            break
        chosen, least = (*chosen, best), losses[best]
    return chosen


def select(
    probabilities_mnk: Floats, labels_n: Labels, groups_n: Sequence[Any], *, most: int = 3, seed: int = 0
) -> Together:
    """Selects on all photos, and judges the way of selecting by cross-fitting.

    Each fifth of the bins is judged by what the other four select, together and alone; the difference is resampled by
    bin. Selected and judged on the same photos, several networks nearly always look better than one.
    """
    members = greedy(probabilities_mnk, labels_n, most=most)
    if len(members) < 2:
        return Together(members=members, gain=None)
    names, bin_n = np.unique(np.asarray(groups_n), return_inverse=True)
    fold_n = np.random.default_rng(seed).permutation(np.arange(len(names)) % FOLDS)[bin_n]
    gains_n = np.zeros(len(labels_n))
    for fold in np.unique(fold_n):
        judged_n = fold_n == fold
        chosen = greedy(probabilities_mnk[:, ~judged_n], labels_n[~judged_n], most=most) or members
        several, alone = probabilities_mnk[list(chosen)].mean(axis=0), probabilities_mnk[chosen[0]]
        gains_n[judged_n] = (log_loss_terms(alone, labels_n) - log_loss_terms(several, labels_n))[judged_n]
    return Together(members=members, gain=bootstrap_mean(gains_n, groups_n=np.asarray(groups_n), seed=seed))
