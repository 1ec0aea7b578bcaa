"""Losses and figures on their way from the device: gathered, sent as one tensor, read when they have arrived."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bintally.training.diagnose.rule import Figures
from bintally.training.diagnose.seen import Mode


class Heard(NamedTuple):
    """Which batch a loss or figure is of."""

    step: int
    mode: Mode
    photos: int


Entry = tuple[Heard, float, float | None, int, Figures | None]
"""Of a loss: the loss and its plain form; of figures: the rule's index, and the figures."""


class _Part(NamedTuple):
    heard: Heard
    rule: int  # -1: a loss
    names: tuple[str, ...]
    sizes: tuple[int, ...]


class Waiting:
    """What waits on the device, in order."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._tensors: list[Tensor] = []

    def add_loss(self, heard: Heard, loss: Tensor | float, plain: Tensor | None) -> None:
        """One batch's loss."""
        if isinstance(loss, Tensor) and loss.numel() != 1:
            raise ValueError(f"a loss of {loss.numel()} values")
        values = [loss.detach() if isinstance(loss, Tensor) else torch.tensor(loss, dtype=torch.float32)]
        values += [] if plain is None else [plain.detach()]
        self._add(heard, -1, ("loss", "plain")[: len(values)], values)

    def add_figures(self, rule: int, step: int, figures: dict[str, Tensor]) -> None:
        """What a rule measured."""
        self._add(Heard(step, "train", 0), rule, tuple(figures), list(figures.values()))

    def fetch(self) -> "Fetch":
        """Sends all of it."""
        return Fetch(self._parts, self._tensors)

    def _add(self, heard: Heard, rule: int, names: tuple[str, ...], values: list[Tensor]) -> None:
        self._parts.append(_Part(heard, rule, names, tuple(value.numel() for value in values)))
        self._tensors += values


class Fetch:
    """One transfer. From a GPU it goes on beside the training, which never waits for it."""

    def __init__(self, parts: list[_Part], tensors: list[Tensor]) -> None:
        self._parts = parts
        device = next((tensor.device for tensor in tensors if tensor.device.type != "cpu"), torch.device("cpu"))
        flat = [_alike(tensor, device) for tensor in tensors]
        self._event: Any = torch.cuda.Event() if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._host = torch.cat(flat).to("cpu", non_blocking=self._event is not None) if flat else torch.empty(0)
        if self._event is not None:
            self._event.record()

    def arrived(self) -> bool:
        """Whether reading it would not wait."""
        return self._event is None or bool(self._event.query())

    def entries(self) -> Iterator[Entry]:
        """All of it, in the order in which it was added; waits for it if need be."""
        if self._event is not None:
            self._event.synchronize()
        values, at = self._host.tolist(), 0
        for part in self._parts:
            figures = {}
            for name, size in zip(part.names, part.sizes, strict=True):
                figures[name] = values[at : at + size]
                at += size
            if part.rule < 0:
                yield part.heard, figures["loss"][0], figures.get("plain", [None])[0], -1, None
            else:
                yield part.heard, 0.0, None, part.rule, figures


def _alike(tensor: Tensor, device: torch.device) -> Tensor:
    """Flat, float32, on `device`; most are there already, and there is one for each step."""
    if tensor.device != device or tensor.dtype != torch.float32:
        tensor = tensor.to(device, torch.float32, non_blocking=True)
    return tensor.view(1) if tensor.ndim == 0 else tensor.reshape(-1)
