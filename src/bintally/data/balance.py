"""Which photos an epoch sees, and how much each counts, when some counts are rarer than others.

Balancing changes the mix of counts a model learns from; what it says must then be corrected for the mix it will meet
(the bundle's `train_prior` and `target_prior`).
"""

from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from bintally.config import Config
from bintally.errors import DataError, did_you_mean
from bintally.records import COUNT_KEYS

Labels = NDArray[np.integer]
Share = Annotated[float, Field(gt=0, le=1)]


class BalanceSettings(Config):
    """How an epoch is drawn from the training photos."""

    method: Literal["none", "undersample", "oversample", "class_weights"] = Field(
        default="none",
        description="none: as they come; undersample: each count as often as the rarest, drawn anew each epoch; "
        "oversample: each as often as the commonest; class_weights: as they come, rare counts weigh more in the loss.",
    )
    keep: dict[str, Share] = Field(
        default_factory=dict,
        description='Share of a count\'s photos an epoch draws from, before balancing, e.g. {"1": 0.5}; others: all.',
    )

    @model_validator(mode="after")
    def _known_counts(self) -> Self:
        for key in self.keep:
            if key not in COUNT_KEYS:
                raise ValueError(f"keep: unknown count {key!r}. {did_you_mean(key, COUNT_KEYS)}")
        return self


def balanced_indices(
    labels_n: Labels, *, settings: BalanceSettings, seed: int, epoch: int, keys: tuple[str, ...] = COUNT_KEYS
) -> NDArray[np.int64]:
    """The photos of one epoch, shuffled: indices into `labels_n`, whose values are positions in `keys`.

    The same seed and epoch give the same photos. Undersampling and `keep` draw anew each epoch, so over several epochs
    nearly all photos are seen. Oversampling shows every photo of a count equally often, give or take one.

    Raises:
        DataError: there is nothing to draw from.
    """
    if labels_n.size == 0:
        raise DataError("There are no photos to balance.", hint="Look at the sizes that `bintally split` reports.")
    rng = np.random.default_rng((seed, epoch))
    pools = [
        _kept(np.flatnonzero(labels_n == label), settings.keep.get(keys[label], 1.0), rng)
        for label in np.unique(labels_n).tolist()
    ]
    sizes = [pool.size for pool in pools]
    if settings.method == "undersample":
        pools = [rng.permutation(pool)[: min(sizes)] for pool in pools]
    elif settings.method == "oversample":
        pools = [_repeated(pool, max(sizes), rng) for pool in pools]
    return rng.permutation(np.concatenate(pools))


def class_weights(labels_n: Labels, n_classes: int) -> NDArray[np.float32]:
    """Loss weights [n_classes], inversely proportional to how often a class occurs; their mean over the photos is 1.

    So the loss keeps its scale, and each class that occurs has the same total weight. A class without photos gets 0.
    """
    sizes = np.bincount(labels_n, minlength=n_classes).astype(np.float64)
    present = sizes > 0
    weights = np.zeros(n_classes)
    weights[present] = sizes.sum() / (present.sum() * sizes[present])
    return weights.astype(np.float32)


def _kept(pool: NDArray[np.int64], share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """`share` of a pool, at least one photo: a count must not vanish by rounding."""
    if share == 1:
        return pool
    return rng.permutation(pool)[: max(1, round(share * pool.size))]


def _repeated(pool: NDArray[np.int64], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    whole, rest = divmod(size, pool.size)
    return np.concatenate([np.tile(pool, whole), rng.permutation(pool)[:rest]])
