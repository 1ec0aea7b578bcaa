"""Finished networks that a student follows: they see the very pixels that it sees (arXiv:2106.05237: "consistent").

Shapes: pixels_nchw uint8 [N, 3, px, px]; probabilities_nk float [N, K].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from bintally.bundle import CARD, Bundle
from bintally.errors import BackboneError, CheckpointError, TrainingError
from bintally.training.finished import read_run
from bintally.training.network import CountNetwork, at_side, build_network, earlier_weights, load_weights, weights_file
from bintally.training.recipe import Recipe, TeacherSettings
from bintally.training.replay import record


@dataclass(frozen=True)
class Teacher:
    """One finished network, the side of the photos it knows, and student's mix of counts over its own [K]."""

    network: CountNetwork
    px: int
    prior_ratio_k: Tensor

    def logits(self, pixels_nchw: Tensor) -> Tensor:
        """What it says [N, K] of photos of any size."""
        logits_nk: Tensor = self.network(at_side(pixels_nchw, self.px))
        return logits_nk.float()


class Teachers:
    """Several networks with one answer. No module, so that no checkpoint and no optimizer takes them for the student's.

    Each is corrected from the mix of counts it was trained on to the student's (Saerens et al. 2002): otherwise a
    student that sees fewer photos of a count would learn two mixes at once.
    """

    def __init__(self, teachers: Sequence[Teacher], temperature: float) -> None:
        self._teachers, self._temperature = list(teachers), temperature
        for teacher in self._teachers:
            teacher.network.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    @classmethod
    def read(cls, settings: TeacherSettings, train_prior: Mapping[str, float]) -> Self:
        """The teachers a recipe names, for a student that is trained on this mix of counts.

        Raises:
            BackboneError: no run or bundle, or not whole.
            TrainingError: one tells other counts apart than the student.
        """
        return cls([_read(place, train_prior) for place in settings.runs], settings.temperature)

    def to(self, device: torch.device) -> None:
        """Moves them where the student is."""
        self._teachers = [
            Teacher(teacher.network.to(device), teacher.px, teacher.prior_ratio_k.to(device))
            for teacher in self._teachers
        ]

    @torch.no_grad()
    def record(self, sample_nchw: Tensor, *, bf16: bool) -> None:
        """Has their networks replay what they do to a batch like this one."""
        for teacher in self._teachers:
            record(teacher.network, at_side(sample_nchw, teacher.px), bf16=bf16)

    @torch.no_grad()
    def probabilities(self, pixels_nchw: Tensor) -> Tensor:
        """The mean [N, K] of what they say."""
        answers = []
        for teacher in self._teachers:
            scores_nk = torch.softmax(teacher.logits(pixels_nchw) / self._temperature, dim=1) * teacher.prior_ratio_k
            answers.append(scores_nk / scores_nk.sum(dim=1, keepdim=True))
        return torch.stack(answers).mean(dim=0)


def teacher_files(settings: TeacherSettings) -> list[Path]:
    """The weights that decide what teachers say, as far as they are there."""
    return [path for place in settings.runs if (path := weights_file(place)) is not None]


def _read(place: Path, train_prior: Mapping[str, float]) -> Teacher:
    recipe, own_prior = _recipe_and_prior(place)
    if recipe.count_keys != tuple(train_prior):
        raise TrainingError(
            f"The teacher {place} tells apart {', '.join(recipe.count_keys)}; the student {', '.join(train_prior)}.",
            hint="Train both with the same `counts`.",
        )
    counter = recipe.network.model_copy(update={"tells": ()})  # a bundle keeps its other heads elsewhere
    network, _ = build_network(counter, len(train_prior), pretrained=False)
    load_weights(network, earlier_weights(place), str(place), strict=True)
    ratio_k = torch.tensor([train_prior[key] / own_prior[key] for key in train_prior])
    return Teacher(network, recipe.input.px, ratio_k)


def _recipe_and_prior(place: Path) -> tuple[Recipe, dict[str, float]]:
    """Recipe and mix of counts of a finished run or of a bundle."""
    if (place / CARD).is_file():
        card = Bundle.open(place).card
        recipe = Recipe.of(card.recipe, where=str(place / CARD))
        if others := recipe.export.ensemble:
            raise TrainingError(
                f"The teacher {place} averages several networks, and a bundle tells only the first one's recipe.",
                hint=f"Name the runs it was exported from; beside its own: {', '.join(map(str, others))}.",
            )
        return recipe, card.train_prior
    try:
        recipe, report = read_run(place)
    except CheckpointError as error:
        raise BackboneError(
            f"The teacher {place} is neither a finished run nor a bundle.",
            hint="teacher.runs wants folders that `bintally train` or `export` finished.",
        ) from error
    return recipe, report.train_prior
