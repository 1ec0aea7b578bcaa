"""What val says of a bundle's comparisons, before they may answer: how much evidence is worth, and beside what.

Shapes: P pairs of val's neighbours; evidence_pd float [P, 2D+1]; raw_nk float [N, K].
"""

from dataclasses import dataclass
from itertools import product
from typing import Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from bintally.bundle import ChangeCard, GraphCard
from bintally.counting.change import change_shares, new_counts
from bintally.counting.counter import Counter
from bintally.counting.sets import fit_set_threshold
from bintally.records import key_of
from bintally.training.calibrate import Photos
from bintally.training.heads import MAX_CHANGE
from bintally.training.pairs import Floats, Indices, neighbours

_TEMPERATURES: Final = (0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
_PHOTO_WEIGHTS: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
_FINER: Final = (0.85, 0.92, 1.0, 1.08, 1.17)


def unfitted(graph: GraphCard, table_bd: Floats, unchanged: float, set_threshold: float) -> ChangeCard:
    """The card of a comparison, before anything was fitted."""
    return ChangeCard(
        max_change=MAX_CHANGE,
        prior=tuple(tuple(round(share, 6) for share in row) for row in table_bd.tolist()),
        unchanged=unchanged,
        temperature=1.0,
        photo_weight=0.0,
        set_threshold=set_threshold,
        model_sha256=graph.model_sha256,
        model_bytes=graph.model_bytes,
    )


@dataclass(frozen=True)
class Compared:
    """Val's neighbours as a bundle sees them."""

    evidence_pd: NDArray[np.float32]
    earlier_p: Indices  # confirmed counts
    ratios: list[dict[str, float]]  # of the later photo's own counts, over what they are without a photo
    labels_p: Indices  # of the new counts, columns of the bundle's counts
    keys: tuple[str, ...]

    @classmethod
    def of(cls, counter: Counter, val: Photos) -> Self:
        """All neighbours of val, whatever their records say."""
        earlier_p, later_p = neighbours(val.table)
        looked = np.unique(np.concatenate([earlier_p, later_p]))
        place = {int(row): index for index, row in enumerate(looked)}
        rows_n = val.cache.rows(val.table["sha256"].to_list())
        seen = counter.network.see(val.cache.read(rows_n[looked]), beside=True)
        keys = counter.card.count_keys
        counts_n = val.table["recorded_count"].to_numpy()
        later = seen.only([place[int(row)] for row in later_p])
        evidence_pd = counter.network.evidence(seen.only([place[int(row)] for row in earlier_p]), later)
        prior_k = np.array([counter.card.target_prior[key] for key in keys])
        ratios = [dict(zip(keys, row, strict=True)) for row in (later.raw_nk / prior_k).tolist()]
        labels_p = np.array([keys.index(key_of(count, keys)) for count in counts_n[later_p]], np.int64)
        return cls(evidence_pd, counts_n[earlier_p].astype(np.int64), ratios, labels_p, keys)

    def probabilities(self, card: ChangeCard) -> Floats:
        """Of the new counts' keys, [P, K], as `told_by_pairs` has them but for exchanged bins."""
        rows = [
            new_counts(card, change_shares(card, evidence_d, earlier, ratios), earlier, self.keys)
            for evidence_d, earlier, ratios in zip(self.evidence_pd, self.earlier_p.tolist(), self.ratios, strict=True)
        ]
        shares_pk = np.maximum(np.array(rows), 1e-9)
        normalised: Floats = shares_pk / shares_pk.sum(axis=1, keepdims=True)
        return normalised

    def log_loss(self, card: ChangeCard) -> float:
        """Mean log loss of the new counts."""
        probabilities_pk = self.probabilities(card)
        return float(-np.log(probabilities_pk[np.arange(len(self.labels_p)), self.labels_p]).mean())


def fit_change(card: ChangeCard, compared: Compared, coverage: float) -> ChangeCard:
    """The card with the temperature and the photo's weight that give val the least log loss, and its sets' threshold.

    A val without neighbours leaves it as it is.
    """
    if not len(compared.labels_p):
        return card
    coarse = [(t, w) for t, w in product(_TEMPERATURES, _PHOTO_WEIGHTS)]
    best = min((_with(card, t, w) for t, w in coarse), key=compared.log_loss)
    finer = [(best.temperature * t, best.photo_weight * w) for t, w in product(_FINER, _FINER)]
    best = min((_with(card, t, w) for t, w in finer), key=compared.log_loss)
    threshold = fit_set_threshold(compared.probabilities(best), compared.labels_p, coverage)
    return msgspec.structs.replace(best, set_threshold=threshold)


def _with(card: ChangeCard, temperature: float, photo_weight: float) -> ChangeCard:
    return msgspec.structs.replace(card, temperature=round(temperature, 4), photo_weight=round(photo_weight, 4))
