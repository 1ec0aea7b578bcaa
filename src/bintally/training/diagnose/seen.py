"""What rules are shown of a training: tensors by name, and figures of them that are worked out once for all rules.

Nothing here waits for the device: figures are tensors of one value each, and the watcher fetches all of a look at once.

Shapes: inputs [N, ...]; labels int [N] or shares float [N, K]; logits_nk float [N, K]; an activation's inputs_uv float
[U, V], U units (channels or neurons) and V values of each.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

Mode = Literal["train", "eval"]

ACTIVATIONS: Final[dict[type[nn.Module], str]] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
}
"""Activations that are modules; a function called in `forward` can't be seen from outside."""

_POSITIONS: Final = 64
_SAMPLE: Final = 4096
_UNMIXED: Final = 0.999


class Tensors:
    """Named tensors of one look. Figures are by name, a tensor of one value each, on the tensors' device."""

    def __init__(self, named: Mapping[str, Tensor] | None = None) -> None:
        self.named = dict(named or {})

    def __len__(self) -> int:
        return len(self.named)

    @cached_property
    def matrices(self) -> frozenset[str]:
        """Names of those of two dimensions and more: no biases, no norms."""
        return frozenset(name for name, tensor in self.named.items() if tensor.ndim > 1)

    @cached_property
    def mean_abs(self) -> dict[str, Tensor]:
        """Mean of the absolute values: NaN where any value is, infinite where one is, 0 only where all are."""
        if not self.named:
            return {}
        tensors = list(self.named.values())
        # A private name of torch's, as its own optimizers use it: one launch for all tensors.
        sums = torch._foreach_norm(tensors, 1)
        return {name: total / tensor.numel() for (name, tensor), total in zip(self.named.items(), sums, strict=True)}

    @cached_property
    def zero_percent(self) -> dict[str, Tensor]:
        """Percentage of values that are 0."""
        return {name: 100 - 100 * tensor.count_nonzero() / tensor.numel() for name, tensor in self.named.items()}

    @cached_property
    def variance(self) -> dict[str, Tensor]:
        """Variance over all values."""
        return {name: tensor.float().var(correction=0) for name, tensor in self.named.items()}

    @cached_property
    def spread(self) -> dict[str, Tensor]:
        """From the 5th to the 95th percentile, of a sample of a few thousand values."""
        quantiles = torch.tensor([0.05, 0.95])
        spreads = {}
        for name, tensor in self.named.items():
            flat = tensor.reshape(-1)
            sample = flat[:: max(len(flat) // _SAMPLE, 1)].float()
            low, high = sample.quantile(quantiles.to(sample.device, non_blocking=True))
            spreads[name] = high - low
        return spreads


@dataclass(frozen=True)
class Activation:
    """What went into one layer of activations, in one forward pass."""

    kind: str
    inputs_uv: Tensor


@dataclass(frozen=True)
class Sight:
    """One look. What no rule asked for, or nobody handed in, is empty or None."""

    step: int
    mode: Mode = "train"
    gradients: Tensors = field(default_factory=Tensors)
    weights: Tensors = field(default_factory=Tensors)
    before: Tensors = field(default_factory=Tensors)
    """Weights before the step."""
    activations: Mapping[str, Activation] = field(default_factory=dict)
    inputs: Tensor | None = None
    labels: Tensor | None = None
    logits: Tensor | None = None

    @cached_property
    def updates(self) -> Tensors:
        """What the step added to the weights."""
        names = [name for name in self.weights.named if name in self.before.named]
        if not names:
            return Tensors()
        changes = torch._foreach_sub(
            [self.weights.named[name] for name in names], [self.before.named[name] for name in names]
        )
        return Tensors(dict(zip(names, changes, strict=True)))


def by_unit(inputs: Tensor) -> Tensor:
    """A copy [U, V] of an activation's inputs, thinned to some 64 positions a photo: the layer may work in place.

    The units are dimension 1 of [N, U], [N, U, L], [N, U, H, W] ...
    """
    inputs = inputs.detach()
    if inputs.ndim < 3:
        return inputs.reshape(-1, inputs.shape[-1]).t().float().clone()
    positions = inputs.shape[2:].numel()
    stride = max(round((positions / _POSITIONS) ** (1 / (inputs.ndim - 2))), 1)
    thinned = inputs[(slice(None), slice(None), *[slice(None, None, stride)] * (inputs.ndim - 2))]
    return thinned.transpose(0, 1).flatten(1).float().clone()


def pure_labels(labels: Tensor) -> Tensor:
    """Labels int64 [N]; of shares [N, K], the label that has (nearly) all of a photo, or -1 where photos are mixed."""
    if labels.ndim == 1:
        return labels.long()
    shares_n, labels_n = labels.max(dim=1)
    return torch.where(shares_n >= _UNMIXED, labels_n, -1)


def plain_loss(logits_nk: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the photos that are not mixed, NaN if all are.

    Without smoothing, weights or teachers, so that train and val are compared by the same measure.
    """
    labels_n = pure_labels(labels)
    pure_n = (labels_n >= 0).float()
    targets_nk = one_hot(labels_n.clamp(min=0), logits_nk.shape[1]).to(logits_nk.device)
    losses_n = -(targets_nk * logits_nk.detach().float().log_softmax(dim=1)).sum(dim=1)
    return (losses_n * pure_n).sum() / pure_n.sum()
