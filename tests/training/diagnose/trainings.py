"""Small real trainings, healthy and ill: which quarter of a photo holds the bright square?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bintally import watch
from bintally.training.diagnose import Rule, Watcher

PX = 16
CLASSES = 4

Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]


def photos(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Normalised photos float [N, 3, PX, PX] with labels int64 [N], the quarter of the square."""
    labels_n = torch.randint(CLASSES, (count,), generator=generator)
    return _drawn(labels_n, generator), labels_n


def uneven_photos(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """As `photos`, but only 1 in 40 is of class 3, and half of those hardly show it."""
    labels_n = torch.randint(CLASSES - 1, (count,), generator=generator)
    labels_n[torch.rand(count, generator=generator) < 1 / 40] = CLASSES - 1
    return _drawn(labels_n, generator), labels_n


def wrong_labels(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """As `photos`, with labels of other photos."""
    images_nchw, labels_n = photos(count, generator)
    return images_nchw, labels_n[torch.randperm(count, generator=generator)]


def _drawn(labels_n: Tensor, generator: torch.Generator) -> Tensor:
    images_nchw = torch.randn(len(labels_n), 3, PX, PX, generator=generator) / 2
    half = PX // 2
    for image_chw, label in zip(images_nchw, labels_n.tolist(), strict=True):
        top, left = half * (label // 2), half * (label % 2)
        image_chw[:, top + 2 : top + 6, left + 2 : left + 6] += 2
    return images_nchw - images_nchw.mean()


def network(seed: int = 0, *, norm: bool = True) -> nn.Sequential:
    """A small network that learns this in a hundred steps."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=not norm)]
        layers += [nn.BatchNorm2d(outputs)] if norm else []
        layers += [nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, CLASSES))


@dataclass(frozen=True)
class Training:
    """What a bare loop does; each field is one way to fall ill."""

    steps: int = 100
    batch: int = 32
    draw: Draw = photos
    validate_every: int = 25
    hand_in_answers: bool = True
    scale: float = 1.0  # of the inputs
    set_size: int | None = None  # photos drawn once, and learnt from again and again

    def batches(self, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        fixed = self.draw(self.set_size, generator) if self.set_size else None
        for _ in range(self.steps):
            if fixed is None:
                images_nchw, labels_n = self.draw(self.batch, generator)
            else:
                chosen = torch.randint(len(fixed[1]), (self.batch,), generator=generator)
                images_nchw, labels_n = fixed[0][chosen], fixed[1][chosen]
            yield self.scale * images_nchw, labels_n

    def run(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None,
        rules: str | list[str | Rule],
        *,
        seed: int = 1,
        every: int | None = None,
    ) -> Watcher:
        """A bare PyTorch loop, watched."""
        val = self.draw(128, torch.Generator().manual_seed(seed + 1000))
        with watch(model, optimizer, rules=rules, every=every) as w:
            for step, (images_nchw, labels_n) in enumerate(self.batches(seed)):
                model.train()
                logits_nk = model(images_nchw)
                loss = cross_entropy(logits_nk, labels_n)
                if optimizer is not None:
                    optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                if optimizer is not None:
                    optimizer.step()
                answers = {"logits": logits_nk, "labels": labels_n} if self.hand_in_answers else {}
                w.step(loss=loss, inputs=images_nchw, **answers)
                if (step + 1) % self.validate_every == 0:
                    self._validate(model, w, val)
        return w

    def _validate(self, model: nn.Module, w: Watcher, val: tuple[Tensor, Tensor]) -> None:
        model.eval()
        with torch.no_grad():
            for images_nchw, labels_n in zip(torch.split(val[0], 64), torch.split(val[1], 64), strict=True):
                logits_nk = model(self.scale * images_nchw)
                loss = cross_entropy(logits_nk, labels_n)
                answers = {"logits": logits_nk, "labels": labels_n} if self.hand_in_answers else {}
                w.step(loss=loss, mode="eval", **answers)


def adam(model: nn.Module, rate: float = 3e-3) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=rate)


def sgd(model: nn.Module, rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=rate)
