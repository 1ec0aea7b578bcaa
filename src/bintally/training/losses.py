"""What a network is taught: cross-entropy against labels that know that 3 is closer to 4 than to 1; and by teachers.

Shapes: logits_nk float [N, K]; labels int64 [N], index of the count's key, or float [N, K], the shares of a mixed
photo's labels; targets_kk float [K, K], a row a label; teacher_nk float [N, K], distributions; of P pairs:
evidence_pd, log_prior_pd float [P, 2D+1], changes_p int64 [P], their columns.
"""

import torch
from torch import Tensor

from bintally.training import ranks


def neighbour_targets(classes: int, neighbour: float) -> Tensor:
    """Target distributions [K, K]: `neighbour` to each count beside, the rest to the count; at the ends it stays there.

    Source: ozantezcan/CNN_trials, whose neighbour labels gave the lowest RMSE with 326,000 photos.
    """
    targets_kk = torch.eye(classes) * (1 - 2 * neighbour)
    for label in range(classes):
        targets_kk[label, max(label - 1, 0)] += neighbour
        targets_kk[label, min(label + 1, classes - 1)] += neighbour
    return targets_kk


class CountLoss(torch.nn.Module):
    """Cross-entropy of logits [N, K] against `targets_kk` of the labels; `class_weights_k` [K] weighs photos by label.

    With a teacher, a share `teacher_weight` of the loss is the cross-entropy against its distributions, both softened
    by `temperature` (and scaled by its square, so that gradients keep their size: Hinton et al. 2015,
    arXiv:1503.02531).
    """

    targets_kk: Tensor
    class_weights_k: Tensor

    def __init__(
        self,
        targets_kk: Tensor,
        class_weights_k: Tensor | None = None,
        *,
        teacher_weight: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.register_buffer("targets_kk", targets_kk, persistent=False)
        weights_k = torch.ones(len(targets_kk)) if class_weights_k is None else class_weights_k
        self.register_buffer("class_weights_k", weights_k, persistent=False)
        self._teacher_weight, self._temperature = teacher_weight, temperature

    def forward(
        self, logits_nk: Tensor, labels: Tensor, teacher_nk: Tensor | None = None, photo_weights_n: Tensor | None = None
    ) -> Tensor:
        """Mean loss of the batch, a scalar; of a part of it, what makes the mean over all processes that."""
        logits_nk = logits_nk.float()
        if labels.ndim == 1:
            targets_nk, weights_n = self.targets_kk[labels], self.class_weights_k[labels]
        else:  # written out: autocast would round a matrix product to bfloat16
            targets_nk = (labels[:, :, None] * self.targets_kk).sum(dim=1)
            weights_n = (labels * self.class_weights_k).sum(dim=1)
        losses_n = _cross_entropy(logits_nk, targets_nk)
        if teacher_nk is not None:
            followed_n = self._temperature**2 * _cross_entropy(logits_nk / self._temperature, teacher_nk)
            losses_n = torch.lerp(losses_n, followed_n, self._teacher_weight)
        if photo_weights_n is not None:
            weights_n = weights_n * photo_weights_n
        # Where several processes share a batch, the mean of their losses is then the whole batch's.
        return (losses_n * weights_n).sum() / ranks.mean(weights_n.sum())


def change_loss(evidence_pd: Tensor, log_prior_pd: Tensor, changes_p: Tensor, weights_p: Tensor) -> Tensor:
    """Mean cross-entropy of pairs' changes, a scalar.

    What is known without any photo, `log_prior_pd`, is added to the evidence rather than learnt by it: so the same
    evidence serves pairs taken either way round, and a site with another mix of changes (logit adjustment: Menon et al.
    2021, arXiv:2007.07314).
    """
    logits_pd = (evidence_pd.float() + log_prior_pd).log_softmax(dim=1)
    losses_p = -logits_pd.gather(1, changes_p[:, None])[:, 0]
    return (losses_p * weights_p).sum() / weights_p.sum()


def _cross_entropy(logits_nk: Tensor, targets_nk: Tensor) -> Tensor:
    return -(targets_nk * logits_nk.log_softmax(dim=1)).sum(dim=1)
