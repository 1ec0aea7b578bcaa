"""What is learnt beside the count: the change between a bin's photos, and its record; and how val judges the change.

Shapes: maps_nchw float, all of val's; P pairs.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from bintally.training.attributes import attributes_loss
from bintally.training.losses import change_loss
from bintally.training.network import CountNetwork, Sight
from bintally.training.pairs import Beside

PAIRS: Final = 64
"""Pairs compared at a time, when val is judged."""


@dataclass(frozen=True)
class ValPairs:
    """Neighbours in val: rows of its table, the change's column, and what is known without any photo."""

    earlier_p: Tensor
    later_p: Tensor
    changes_p: Tensor
    log_prior_pd: Tensor


class BesideLoss:
    """The loss of what a network tells beside the count, by the weights of a recipe."""

    def __init__(self, *, change: float, record: float, val: ValPairs) -> None:
        self._change, self._record, self._val = change, record, val

    def __call__(self, network: CountNetwork, sight: Sight, known: Beside) -> Tensor:
        """The weighted loss of one batch, a scalar."""
        loss = sight.features_nf.sum() * 0
        if network.change is not None and len(known.changes_p):
            maps_nchw = network.maps(sight)
            evidence_pd = network.change(maps_nchw[known.earlier_p], maps_nchw[known.later_p])
            loss = loss + self._change * change_loss(
                evidence_pd, known.log_prior_pd, known.changes_p, known.pair_weights_p
            )
        if network.record is not None:
            attributes_na = network.record(sight.features_nf)
            loss = loss + self._record * attributes_loss(attributes_na, known.products_n, known.measures_nm)
        return loss

    def figures(self, network: CountNetwork, maps_nchw: Tensor) -> dict[str, float]:
        """How well val's changes are told; nothing where val has no neighbours."""
        val = self._val
        if network.change is None or not len(val.changes_p):
            return {}
        evidence_pd = torch.cat(
            [
                network.change(maps_nchw[earlier_p].float(), maps_nchw[later_p].float()).cpu()
                for earlier_p, later_p in zip(
                    torch.split(val.earlier_p, PAIRS), torch.split(val.later_p, PAIRS), strict=True
                )
            ]
        )
        logits_pd = (evidence_pd + val.log_prior_pd).log_softmax(dim=1)
        right_p = logits_pd.argmax(dim=1) == val.changes_p
        log_loss = -logits_pd.gather(1, val.changes_p[:, None]).mean()
        return {"change_accuracy": float(right_p.float().mean()), "change_log_loss": float(log_loss)}
