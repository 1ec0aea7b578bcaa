"""What Lightning runs: one step, one validation, the optimizer. Figures are `counting.metrics`, as everywhere.

Shapes: pixels_nchw uint8 [N, 3, px, px] (or features float [N, F]); labels_n int64 [N], or of mixed photos shares_nk
float [N, K]; probabilities_nk float [N, K].
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from numpy.typing import NDArray
from torch import Tensor, nn

from bintally.counting import metrics
from bintally.errors import TrainingError
from bintally.training import ranks
from bintally.training.averaging import AveragedNetwork
from bintally.training.beside import BesideLoss
from bintally.training.network import CountNetwork
from bintally.training.optimizer import build_optimizer
from bintally.training.recipe import OptimizerSettings
from bintally.training.replay import record
from bintally.training.teachers import Teachers
from bintally.training.watch import ADVICE


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
    """What a pass over val saw, batch by batch; on the device, since each batch fetched would wait for it."""

    logits: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)
    maps: list[Tensor] = field(default_factory=list)


class CountModule(pl.LightningModule):
    """A network under training. `network` maps photos (or their features) to logits.

    `average` above 0: val judges, and the keeper keeps, a moving average of its weights with that decay. `replayed`: a
    batch as all training batches are; on a GPU, what is done to it is recorded once and replayed each step. `beside`:
    what is learnt beside the count; `network` is then a whole `CountNetwork`.
    """

    def __init__(
        self,
        network: nn.Module,
        head: nn.Module,
        loss: nn.Module,
        target: Target,
        settings: OptimizerSettings,
        steps: int,
        frozen: list[nn.Module],
        average: float = 0.0,
        teachers: Teachers | None = None,
        replayed: Tensor | None = None,
        beside: BesideLoss | None = None,
    ) -> None:
        super().__init__()
        self.network, self._loss, self._target = network, loss, target
        self._head, self._settings, self._steps = head, settings, steps
        self._frozen, self._teachers = frozen, teachers
        self._replayed, self._beside = replayed, beside
        self.averaged = AveragedNetwork(network, average) if average else None
        self._seen = _Seen()
        self.told_nk: NDArray[np.float64] = np.empty((0, 0))  # of val's photos, by the last pass over them

    @property
    def judged(self) -> nn.Module:
        """What val judges, and what is kept if it is the best."""
        return self.averaged.network if self.averaged is not None else self.network

    def on_fit_start(self) -> None:
        """Teachers are no part of this module (no checkpoint is to hold them), so Lightning does not move them."""
        if self._teachers is not None:
            self._teachers.to(self.device)

    def on_train_start(self) -> None:
        """As each epoch's start: Lightning leaves that out where a run resumes within an epoch."""
        self.on_train_epoch_start()
        if self._replayed is not None and self.device.type == "cuda":
            sample = self._replayed.to(self.device)
            bf16 = "bf16" in str(self.trainer.precision)
            record(self.network, sample, bf16=bf16)
            if self._teachers is not None:
                self._teachers.record(sample, bf16=bf16)

    def on_train_epoch_start(self) -> None:
        """Frozen normalisation layers keep their statistics."""
        for module in self._frozen:
            module.eval()

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """The loss of one batch: (photos, labels), and where more than counts is learnt, what `pairs.Beside` knows."""
        pixels_nchw, labels = batch[:2]
        teacher_nk = None if self._teachers is None else self._teachers.probabilities(pixels_nchw)
        if self._beside is None:
            loss: Tensor = self._loss(self.network(pixels_nchw), labels, teacher_nk)
            return loss
        known = batch[2]
        network = cast(CountNetwork, self.network)
        sight = network.see(pixels_nchw)
        loss = self._loss(network.head()(sight.features_nf), labels, teacher_nk, known.photo_weights_n)
        return loss + self._beside(network, sight, known)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: torch.optim.Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """A step, and the average's step after it: before any callback may save the two."""
        step = self.global_step  # counted on within the step
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        if self.averaged is not None:
            self.averaged.follow(self.network, step)

    def on_validation_epoch_start(self) -> None:
        """All processes judge the same network."""
        ranks.share_buffers(self.judged)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        """Remembers what the network said of one batch."""
        pixels_nchw, labels_n = batch
        network = self.judged
        if isinstance(network, CountNetwork) and network.change is not None:
            sight = network.see(pixels_nchw)
            self._seen.maps.append(network.maps(sight))
            self._seen.logits.append(network.head()(sight.features_nf).float())
        else:
            self._seen.logits.append(network(pixels_nchw).float())
        self._seen.labels.append(labels_n)

    def on_validation_epoch_end(self) -> None:
        """Figures over all of val."""
        seen, self._seen = self._seen, _Seen()
        logits_nk = ranks.all_parts(torch.cat(seen.logits).cpu().numpy())
        labels_n = ranks.all_parts(torch.cat(seen.labels).cpu().numpy())
        if not np.isfinite(logits_nk).all():
            raise TrainingError("The network's answers on val became NaN or infinite.", hint=ADVICE)
        self.told_nk = self._target.probabilities(logits_nk)
        figures = self._target.figures(logits_nk, labels_n)
        if seen.maps and self._beside is not None:
            figures |= self._beside.figures(cast(CountNetwork, self.judged), torch.cat(seen.maps))
        self.log_dict(figures)

    def configure_optimizers(self) -> Any:
        """The optimizer, and one learning-rate schedule over all steps."""
        optimizer, schedule = build_optimizer(self.network, self._head, self._settings, self._steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
