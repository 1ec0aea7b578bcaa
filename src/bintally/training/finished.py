"""What a finished training leaves beside its weights: the recipe it followed, and what came out."""

from pathlib import Path
from typing import Final

import msgspec

from bintally.errors import CheckpointError
from bintally.training.recipe import Recipe

RUN: Final = "run.json"
RECIPE: Final = "recipe.json"
WEIGHTS: Final = "model.safetensors"
"""A run's trained weights, float32, under the names of `CountNetwork.weights`."""


class TrainReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came out of a training. `history` has a row an epoch; `best` is the kept one, judged on val."""

    recipe: str
    run: str
    identity: str
    dataset: str
    weights: str
    keys: tuple[str, ...]
    values: dict[str, float]
    train_prior: dict[str, float]
    target_prior: dict[str, float]
    train_photos: int
    val_photos: int
    best: dict[str, float]
    blind_accuracy: float
    history: list[dict[str, float]]
    resumed_at_step: int
    stopped_early: bool
    seconds: float
    photos_per_s: float


def read_run(folder: Path) -> tuple[Recipe, TrainReport]:
    """Recipe and report of a finished run.

    Raises:
        CheckpointError: `folder` is no finished run.
    """
    try:
        report = msgspec.json.decode((folder / RUN).read_bytes(), type=TrainReport)
        return Recipe.of(msgspec.json.decode((folder / RECIPE).read_bytes()), where=str(folder / RECIPE)), report
    except (OSError, msgspec.DecodeError) as error:
        raise CheckpointError(
            f"{folder} is no finished run: {error}.", hint="Finish it with `bintally train`."
        ) from error
