"""Where a watcher taps a training: the optimizer's own step, and activations. Without a look, hooks do nothing."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bintally.training.diagnose.rule import Source
from bintally.training.diagnose.seen import ACTIVATIONS, Activation, Sight, Tensors, by_unit


class Taps:
    """Hooks on a model and its optimizer, from `attach` to `detach`.

    Gradients are read right after the optimizer's step: before any zero_grad() of the loop, and after a closure (as
    Lightning's) has made and clipped them. An optimizer without hooks, or none, is no obstacle: then gradients are what
    `.grad` holds at `read`, and weights before the step those kept at the end of the step before.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None,
        sources: frozenset[Source],
        on_step: Callable[[Sight], None],
        guarded: Callable[[Callable[[], None]], None],
    ) -> None:
        """`on_step` is shown each looked-at step; all that hooks do runs within `guarded`."""
        self.looking = False
        self.step = 0
        self._model, self._sources = model, sources
        self._on_step, self._guarded = on_step, guarded
        self._optimizer = optimizer if hasattr(optimizer, "register_step_post_hook") else None
        self._handles: list[Any] = []
        self._before: dict[str, Tensor] = {}
        self._activations: dict[str, Activation] = {}

    @property
    def tells_steps(self) -> bool:
        """Whether the optimizer tells its steps by itself."""
        return self._optimizer is not None

    def attach(self) -> None:
        """Puts the hooks on."""
        if self._optimizer is not None and self._sources & {"gradients", "weights", "updates", "activations"}:
            self._handles.append(self._optimizer.register_step_pre_hook(self._before_step))
            self._handles.append(self._optimizer.register_step_post_hook(self._after_step))
        if "activations" in self._sources:
            for name, module in self._model.named_modules():
                kind = next((kind for layer, kind in ACTIVATIONS.items() if isinstance(module, layer)), None)
                if kind is not None:
                    self._handles.append(module.register_forward_pre_hook(self._activation_hook(name, kind)))

    def detach(self) -> None:
        """Takes all hooks off and lets all tensors go."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._before, self._activations = [], {}, {}
        self.looking = False

    def activations(self) -> dict[str, Activation]:
        """Those of this look so far."""
        return self._activations

    def forget(self) -> None:
        """The look is over."""
        self._activations = {}
        if self.tells_steps:
            self._before = {}

    def keep_weights(self) -> None:
        """Keeps the weights as they are, to see what the coming step changes."""
        if "updates" in self._sources:
            self._before = {name: weight.detach().clone() for name, weight in self._learning().items()}

    def read(self) -> Sight:
        """Gradients and weights as they are now."""
        learning = self._learning()
        asked = self._sources
        gradients = {name: weight.grad for name, weight in learning.items() if weight.grad is not None}
        weights = {name: weight.detach() for name, weight in learning.items()} if asked & {"weights", "updates"} else {}
        return Sight(
            self.step,
            gradients=Tensors(gradients if "gradients" in asked else None),
            weights=Tensors(weights),
            before=Tensors(self._before),
            activations=self._activations,
        )

    def _learning(self) -> dict[str, nn.Parameter]:
        """Dense parameters that ask for a gradient; what stands still on purpose is no illness."""
        return {
            name: weight
            for name, weight in self._model.named_parameters()
            if weight.requires_grad and weight.numel() and not (weight.grad is not None and weight.grad.is_sparse)
        }

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self.looking:
            self._guarded(self.keep_weights)

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self.looking:
            self._guarded(lambda: self._on_step(self.read()))

    def _activation_hook(self, name: str, kind: str) -> Callable[[nn.Module, Any], None]:
        def hook(_module: nn.Module, inputs: Any) -> None:
            if self.looking and self._model.training and isinstance(inputs[0], Tensor):
                self._guarded(lambda: self._activated(name, kind, inputs[0]))

        return hook

    def _activated(self, name: str, kind: str, inputs: Tensor) -> None:
        calls = sum(key == name or key.startswith(f"{name}#") for key in self._activations)
        self._activations[f"{name}#{calls + 1}" if calls else name] = Activation(kind, by_unit(inputs))
