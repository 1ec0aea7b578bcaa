"""How weights move: which learn how fast, and how that changes over the steps."""

import math
from typing import Any

import torch
from torch import nn

from bintally.training.network import CountNetwork, stage_of_each
from bintally.training.recipe import OptimizerSettings


def build_optimizer(
    network: nn.Module, head: nn.Module, settings: OptimizerSettings, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW or SGD with a slow body, a fast head, and one learning-rate schedule over all steps."""
    groups = parameter_groups(network, head, settings)
    optimizer: torch.optim.Optimizer
    if settings.name == "adamw":
        optimizer = torch.optim.AdamW(groups)
    else:
        optimizer = torch.optim.SGD(groups, momentum=settings.momentum)
    return optimizer, _schedule(optimizer, settings, steps)


def parameter_groups(network: nn.Module, head: nn.Module, settings: OptimizerSettings) -> list[dict[str, Any]]:
    """Body (by stage, where `layer_decay` sets them apart) and head, with and without weight decay; only what learns.

    Vectors have no weight decay. Source of the slower early stages: Clark et al. 2020, ELECTRA, arXiv:2003.10555.
    """
    heads = {id(parameter) for parameter in head.parameters()}
    before_last = _stages_before_last(network) if settings.layer_decay < 1 else {}
    groups: dict[tuple[bool, bool, int], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            is_head = id(parameter) in heads
            stage = 0 if is_head else before_last.get(id(parameter), 0)
            groups.setdefault((is_head, parameter.ndim > 1, stage), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": settings.head_lr if is_head else settings.body_lr * settings.layer_decay**stage,
            "weight_decay": settings.weight_decay if is_matrix else 0.0,
        }
        for (is_head, is_matrix, stage), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


def _stages_before_last(network: nn.Module) -> dict[int, int]:
    """By a body parameter's id, how many stages stand between it and the head."""
    if not isinstance(network, CountNetwork):  # a head alone
        return {}
    stage_of = stage_of_each(network)
    head = {id(parameter) for parameter in network.head().parameters()}
    body = {name: p for name, p in network.backbone.named_parameters() if id(p) not in head}
    stages = {stage_of[name] for name, parameter in body.items() if parameter.ndim > 1}  # a norm alone is none
    return {id(p): sum(later > stage_of[name] for later in stages) for name, p in body.items()}


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
        return 0.5 * (1 + math.cos(math.pi * min((step - warmup) / max(steps - warmup, 1), 1.0)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
