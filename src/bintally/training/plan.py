"""What a training is about to do, worked out from recipe and data before anything expensive starts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from bintally.artifacts import code_fingerprint, fingerprint, sha256_of
from bintally.data.balance import balanced_indices, class_weights
from bintally.errors import TrainingError
from bintally.manifest import SPLIT, Manifest
from bintally.training.dataset import labels_of
from bintally.training.deciding import CODE as CODE
from bintally.training.losses import CountLoss, neighbour_targets
from bintally.training.module import Target
from bintally.training.network import starting_files
from bintally.training.recipe import Recipe
from bintally.training.teachers import Teachers, teacher_files

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """Photos, labels and priors of one training. Arrays [K] follow `keys`."""

    recipe: Recipe
    data: Path
    keys: tuple[str, ...]
    train: pl.DataFrame
    val: pl.DataFrame
    train_prior_k: Floats
    target_prior_k: Floats
    values_k: Floats
    dataset: str  # fingerprint of the manifest

    @classmethod
    def of(cls, recipe: Recipe, data: Path) -> "Plan":
        """Reads the split and checks that every count can be learnt.

        Raises:
            ManifestError: there is no split yet.
            TrainingError: no photos to train on or to choose by, or none of a count.
        """
        manifest = Manifest.read(data, SPLIT)
        keys = recipe.count_keys
        train, val = (manifest.usable(split, counts=keys).sort("bin_image_id") for split in ("train", "val"))
        _check_counts(train, keys)
        if val.is_empty():
            raise TrainingError("There is no photo in val to choose by.", hint="Split with a val part, e.g. 70/20/10.")
        labels_n = labels_of(train, keys)
        drawn_n = balanced_indices(labels_n, keys=keys, settings=recipe.balance, seed=recipe.seed, epoch=0)
        train_prior_k = _mix(labels_n[drawn_n], len(keys), smoothing=0)
        if recipe.balance.method == "class_weights":  # a weighted loss teaches the weighted mix
            weighted_k = train_prior_k * class_weights(labels_n, len(keys))
            train_prior_k = weighted_k / weighted_k.sum()
        if not set(val["count_key"]) & set(recipe.asked_keys):
            raise TrainingError(
                f"val has no photo of the counts asked about ({', '.join(recipe.asked_keys)}).",
                hint="Change the recipe's evaluate.counts, or split again.",
            )
        return cls(
            recipe=recipe,
            data=data,
            keys=keys,
            train=train,
            val=val,
            train_prior_k=train_prior_k,
            target_prior_k=target_prior(recipe.export.prior, labels_of(val, keys), train_prior_k),
            values_k=_values(train, keys),
            dataset=manifest.fingerprint(),
        )

    @property
    def target(self) -> Target:
        """How val's answers are judged."""
        asked_k = np.array([key in self.recipe.asked_keys for key in self.keys])
        return Target(self.values_k, self.target_prior_k / self.train_prior_k, asked_k)

    def loss(self) -> CountLoss:
        """The loss, weighted by class where the recipe balances so."""
        weighted = self.recipe.balance.method == "class_weights"
        weights_k = (
            torch.from_numpy(class_weights(labels_of(self.train, self.keys), len(self.keys))) if weighted else None
        )
        return CountLoss(
            neighbour_targets(len(self.keys), self.recipe.loss.neighbour),
            weights_k,
            teacher_weight=self.recipe.teacher.weight,
            temperature=self.recipe.teacher.temperature,
        )

    def teachers(self) -> Teachers | None:
        """The networks that the recipe has the student follow.

        Raises:
            BackboneError: one is no run or bundle, or not whole.
            TrainingError: one tells other counts apart.
        """
        if not self.recipe.teacher.runs:
            return None
        return Teachers.read(self.recipe.teacher, dict(zip(self.keys, self.train_prior_k.tolist(), strict=True)))

    def identity(self) -> str:
        """Equal for two trainings that must end in the same weights."""
        return fingerprint([training_state(self.recipe), self.dataset, code_fingerprint(CODE)])


_DECIDING: Final = {
    "seed", "counts", "balance", "network", "input", "augment", "loss", "pairs", "teacher", "optimizer", "loop"
}  # fmt: skip


def training_state(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe decides a training's weights; files it starts from by their digests."""
    state = recipe.model_dump(mode="json", include=_DECIDING)
    for name in ("workers", "checkpoint_minutes"):
        del state["loop"][name]
    if recipe.diagnose.action == "stop":  # else rules only watch
        state["diagnose"] = recipe.diagnose.model_dump(mode="json")
    return state | {
        "asked": recipe.asked_keys,  # the epoch that is kept is judged on these, for this mix
        "prior": recipe.export.prior,
        "files": {
            str(path): sha256_of(path) for path in (*starting_files(recipe.network), *teacher_files(recipe.teacher))
        },
    }


def target_prior(prior: str, val_labels_n: NDArray[np.int64], train_prior_k: Floats) -> Floats:
    """The mix of counts [K] to answer for: "val" (one photo added to each count), "train" or "uniform"."""
    if prior == "val":
        return _mix(val_labels_n, len(train_prior_k), smoothing=1)
    return train_prior_k if prior == "train" else np.full(len(train_prior_k), 1 / len(train_prior_k))


def _check_counts(train: pl.DataFrame, keys: tuple[str, ...]) -> None:
    if train.is_empty():
        raise TrainingError("There is no usable photo in train.", hint="Look at what check set aside: DATA/check.json.")
    present = set(train["count_key"])
    absent = [key for key in keys if key not in present]
    if absent:
        raise TrainingError(
            f"There is no photo of count {', '.join(absent)} in train, so it can't be learnt.",
            hint=f"Fetch some, or set the recipe's counts to {','.join(key for key in keys if key in present)!r}.",
        )


def _mix(labels_n: NDArray[np.int64], classes: int, *, smoothing: int) -> Floats:
    """Shares of each label; `smoothing` photos are added to each, so that a mix never rules a count out."""
    sizes = np.bincount(labels_n, minlength=classes) + smoothing
    shares: Floats = sizes / sizes.sum()
    return shares


def _values(train: pl.DataFrame, keys: tuple[str, ...]) -> Floats:
    """What each key counts as in the expected count: itself, or for the open top the mean of its photos in train."""
    means = dict(train.group_by("count_key").agg(pl.col("recorded_count").mean()).iter_rows())
    return np.array([float(means[key]) if key.endswith("+") else float(key) for key in keys])
