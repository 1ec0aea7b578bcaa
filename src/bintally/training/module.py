"""What Lightning runs: one step, one validation, the optimizer. Figures are `counting.metrics`, as everywhere.

Shapes: pixels_nchw uint8 [N, 3, px, px] (or features float [N, F]); labels_n int64 [N]; probabilities_nk float [N, K].
"""

from dataclasses import dataclass, field
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bintally.counting import metrics
from bintally.errors import TrainingError
from bintally.training.recipe import OptimizerSettings


@dataclass(frozen=True)
class Target:
    """What predictions are judged by, each [K]: a key's value, target mix over train's mix, is it asked about."""

    values_k: NDArray[np.float64]
    prior_ratio_k: NDArray[np.float64]
    asked_k: NDArray[np.bool_]

    def probabilities(self, logits_nk: NDArray[np.float32]) -> NDArray[np.float64]:
        """Distributions [N, K] of logits: prior-corrected, over the counts asked about."""
        scores_nk = np.exp(logits_nk - logits_nk.max(axis=1, keepdims=True)) * self.prior_ratio_k * self.asked_k
        normalised: NDArray[np.float64] = scores_nk / scores_nk.sum(axis=1, keepdims=True)
        return normalised

    def figures(self, logits_nk: NDArray[np.float32], labels_n: NDArray[np.int64]) -> dict[str, float]:
        """Log loss, accuracy and RMSE on the photos whose count is asked about."""
        asked_n = self.asked_k[labels_n]
        probabilities_nk, labels_n = self.probabilities(logits_nk[asked_n]), labels_n[asked_n]
        return {
            "log_loss": metrics.log_loss(probabilities_nk, labels_n),
            "accuracy": metrics.accuracy(probabilities_nk, labels_n),
            "rmse": metrics.rmse(probabilities_nk, labels_n, self.values_k),
        }


@dataclass
class _Seen:
    """What a pass over val saw, batch by batch."""

    logits: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)


class CountModule(pl.LightningModule):
    """A network under training. `network` maps photos (or their features) to logits."""

    def __init__(
        self,
        network: nn.Module,
        head: nn.Module,
        loss: nn.Module,
        target: Target,
        settings: OptimizerSettings,
        steps: int,
        frozen: list[nn.Module],
    ) -> None:
        super().__init__()
        self.network, self._loss, self._target = network, loss, target
        self._head, self._settings, self._steps = head, settings, steps
        self._frozen = frozen
        self._seen = _Seen()

    def on_train_start(self) -> None:
        """As each epoch's start: Lightning leaves that out where a run resumes within an epoch."""
        self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Frozen normalisation layers keep their statistics."""
        for module in self._frozen:
            module.eval()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """The loss of one batch."""
        pixels_nchw, labels_n = batch
        loss: Tensor = self._loss(self.network(pixels_nchw), labels_n)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The loss became {loss.item()} at step {self.global_step}.",
                hint="Lower optimizer.body_lr and head_lr, set optimizer.clip_norm, or use loop.precision = 'fp32'.",
            )
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        """Remembers what the network said of one batch."""
        pixels_nchw, labels_n = batch
        self._seen.logits.append(self.network(pixels_nchw).float().cpu())
        self._seen.labels.append(labels_n.cpu())

    def on_validation_epoch_end(self) -> None:
        """Figures over all of val."""
        seen, self._seen = self._seen, _Seen()
        figures = self._target.figures(torch.cat(seen.logits).numpy(), torch.cat(seen.labels).numpy())
        self.log_dict(figures)

    def configure_optimizers(self) -> Any:
        """AdamW or SGD with a slow body, a fast head, and one learning-rate schedule over all steps."""
        settings = self._settings
        groups = _parameter_groups(self.network, self._head, settings)
        optimizer: torch.optim.Optimizer
        if settings.name == "adamw":
            optimizer = torch.optim.AdamW(groups)
        else:
            optimizer = torch.optim.SGD(groups, momentum=settings.momentum)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": _schedule(optimizer, settings, self._steps), "interval": "step"},
        }


def _parameter_groups(network: nn.Module, head: nn.Module, settings: OptimizerSettings) -> list[dict[str, Any]]:
    """Body and head, each with and without weight decay (vectors have none); only what learns."""
    heads = {id(parameter) for parameter in head.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            groups.setdefault((id(parameter) in heads, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": settings.head_lr if is_head else settings.body_lr,
            "weight_decay": settings.weight_decay if is_matrix else 0.0,
        }
        for (is_head, is_matrix), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


def _schedule(
    optimizer: torch.optim.Optimizer, settings: OptimizerSettings, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    if settings.schedule == "one_cycle":
        peaks = [group["lr"] for group in optimizer.param_groups]
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            peaks,
            total_steps=steps + 1,
            pct_start=settings.warmup,
            cycle_momentum=settings.name == "adamw",  # sgd's momentum is what the recipe says
        )
    warmup = max(round(settings.warmup * steps), 1)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if settings.schedule == "constant":
            return 1.0
        return float(0.5 * (1 + np.cos(np.pi * min((step - warmup) / max(steps - warmup, 1), 1.0))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
