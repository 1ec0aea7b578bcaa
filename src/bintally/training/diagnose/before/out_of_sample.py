"""What a logistic head on frozen features says of photos it never saw: grouped folds, so that no bin is in two.

Shapes: features_nf float32 [N, F]; labels_n int64 [N]; groups_n [N], any names; probabilities_nk float [N, K].
"""

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bintally.data.stratify import assign_groups
from bintally.progress import Task

PENALTIES: Final = (0.003, 0.03, 0.3, 3.0)
"""Tried on the first fold, half the squared weights times this; standardised features."""

_ITERATIONS: Final = 60

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


def grouped_folds(labels_n: Indices, groups_n: NDArray[Any], *, folds: int, seed: int) -> Indices:
    """The fold [N] of each photo: groups stay whole, and each fold has the same mix of labels."""
    return grouped_parts(labels_n, groups_n, np.full(folds, 1 / folds), seed=seed)


def grouped_parts(labels_n: Indices, groups_n: NDArray[Any], shares_p: Floats, *, seed: int) -> Indices:
    """The part [N] of each photo, parts of the sizes `shares_p`; as `grouped_folds`."""
    _, group_n = np.unique(groups_n, return_inverse=True)
    photos_gk = np.zeros((group_n.max() + 1, labels_n.max() + 1), dtype=np.int64)
    np.add.at(photos_gk, (group_n, labels_n), 1)
    part_g = assign_groups(photos_gk, shares_p, np.random.default_rng(seed))
    return part_g[group_n]


def choose_penalty(features_nf: Tensor, labels_n: Indices, fold_n: Indices, *, classes: int) -> float:
    """The penalty with the least log loss on the first fold. One number: what it gives away of that fold is nothing."""
    held = torch.from_numpy(fold_n == 0)
    target = torch.from_numpy(labels_n)[held]
    losses = {}
    for penalty in PENALTIES:
        logits = _held_out(features_nf, labels_n, held, classes=classes, penalty=penalty)
        losses[penalty] = float(functional.cross_entropy(logits, target))
    return min(losses, key=lambda penalty: losses[penalty])


def out_of_sample(
    features_nf: Tensor, labels_n: Indices, fold_n: Indices, *, classes: int, penalty: float, task: Task | None = None
) -> Floats:
    """Probabilities [N, K] of each photo by the head that learnt from all folds but its own."""
    probabilities_nk = np.zeros((len(labels_n), classes))
    for fold in np.unique(fold_n):
        held_n = fold_n == fold
        logits = _held_out(features_nf, labels_n, torch.from_numpy(held_n), classes=classes, penalty=penalty)
        probabilities_nk[held_n] = logits.double().softmax(dim=1).numpy()
        if task is not None:
            task.advance()
    return probabilities_nk


def _held_out(features_nf: Tensor, labels_n: Indices, held: Tensor, *, classes: int, penalty: float) -> Tensor:
    """Logits of the photos `held` by a multinomial logistic regression on the others, fitted to its optimum."""
    seen_nf = features_nf[~held]
    mean_f, std_f = seen_nf.mean(dim=0), seen_nf.std(dim=0, correction=0) + 1e-6
    seen_nf, target = (seen_nf - mean_f) / std_f, torch.from_numpy(labels_n)[~held]
    head = nn.Linear(features_nf.shape[1], classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.LBFGS(
        head.parameters(), max_iter=_ITERATIONS, tolerance_change=1e-6, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(head(seen_nf), target) + penalty / 2 * head.weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        logits: Tensor = head((features_nf[held] - mean_f) / std_f)
    return logits
