"""A recipe's training step by step, without the loop: for whoever tries something out before a training."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Self

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn

from bintally.progress import Progress
from bintally.training.dataset import loader
from bintally.training.feed import Feed, feed_of, module_of
from bintally.training.loop import uses_bf16
from bintally.training.module import CountModule
from bintally.training.network import CountNetwork, build_network, freeze, try_out
from bintally.training.optimizer import build_optimizer
from bintally.training.plan import Plan


@dataclass(frozen=True)
class Rehearsal:
    """Network, photos, loss and optimizer of a recipe, as its training starts with them."""

    plan: Plan
    network: CountNetwork
    origin: str  # of its weights, in words
    feed: Feed
    module: CountModule
    device: torch.device
    bf16: bool

    @classmethod
    def of(cls, plan: Plan, progress: Progress) -> Self:
        """The training that `plan` describes, on the GPU if there is one.

        Raises:
            BackboneError: unknown architecture, its weights can't be had, or it can't count at that size.
            TrainingError: a teacher tells other counts apart.
        """
        recipe = plan.recipe
        torch.manual_seed(recipe.seed)
        network, origin = build_network(recipe.network, len(plan.keys))
        try_out(network, recipe.input.px)
        freeze(network, recipe.network.tune)
        network = network.to(memory_format=torch.channels_last)
        feed = feed_of(plan, network, progress)
        teachers = plan.teachers()
        module = module_of(plan, network, feed, teachers)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        module.to(device)
        if teachers is not None:
            teachers.to(device)
        return cls(plan, network, origin, feed, module, device, uses_bf16(recipe.loop.precision))

    @contextmanager
    def undone(self) -> Iterator[None]:
        """What is learnt within is unlearnt after: weights, statistics and random state are as they were."""
        state = {name: value.clone() for name, value in self.module.state_dict().items()}
        training = self.module.training
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.plan.recipe.seed)
            self.module.train()
            self.module.on_train_epoch_start()  # frozen norms
            try:
                yield
            finally:
                self.module.load_state_dict(state)
                self.module.zero_grad(set_to_none=True)
                self.module.train(training)
                self.feed.batches.start_at(0)

    def batches(self) -> Iterator[Any]:
        """Training's batches from its start on, epoch after epoch, without end."""
        self.feed.batches.start_at(0)
        loaded = loader(self.feed.train, self.feed.batches, workers=self.plan.recipe.loop.workers)
        for epoch in cycle([loaded]):
            for batch in epoch:
                yield move_data_to_device(batch, self.device)

    def loss(self, batch: Any) -> Tensor:
        """The loss of a batch, a scalar, as the training computes it."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return self.module.training_step(batch, 0)

    def optimizer(self) -> torch.optim.Optimizer:
        """The recipe's, at the recipe's peak rates all along."""
        settings = self.plan.recipe.optimizer.model_copy(update={"schedule": "constant", "warmup": 0.0})
        return build_optimizer(self.feed.learning, self.network.heads(), settings, steps=1)[0]

    def step(self, batch: Any, optimizer: torch.optim.Optimizer) -> float:
        """One step of `optimizer`; returns the loss before it. A loss that is not finite moves no weight."""
        optimizer.zero_grad(set_to_none=True)
        loss = self.loss(batch)
        value = float(loss.detach())
        if math.isfinite(value):
            loss.backward()  # type: ignore[no-untyped-call]
            if clip_norm := self.plan.recipe.optimizer.clip_norm:
                nn.utils.clip_grad_norm_(self.learning_parameters, clip_norm)
            optimizer.step()
        return value

    @property
    def learning_parameters(self) -> list[nn.Parameter]:
        """Those that training moves."""
        return [parameter for parameter in self.feed.learning.parameters() if parameter.requires_grad]
