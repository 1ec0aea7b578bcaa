"""What takes part in a comparison: a training's run folder, or what `evaluate` wrote of a bundle."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from bintally.bundle import CARD, Card, Figure
from bintally.counting.predictions import PREDICTIONS, Predictions, read_predictions
from bintally.counting.report import EvaluationReport
from bintally.errors import DataError
from bintally.settings import BUNDLED

_RUN: Final = "run.json"
_RECIPE: Final = "recipe.json"
_WEIGHTS: Final = "model.safetensors"
_METRICS: Final = "metrics.json"
_BUFFERS: Final = ("running_mean", "running_var", "num_batches_tracked")  # statistics of norms, nothing learnt


class Entrant(msgspec.Struct, frozen=True, kw_only=True):
    """One model that is compared; None where its folder does not tell. `figures` are on the photos all have."""

    label: str
    folder: str
    kind: str
    """"run", "evaluation" or "version"."""
    backbone: str | None = None
    parameters: int | None = None
    weights_mb: float | None = None
    epochs: int | None = None
    best_epoch: int | None = None
    training_s: float | None = None
    training_photos_per_s: float | None = None
    counting_photos_per_s: float | None = None
    photos: int = 0
    """Photos it has predictions of."""
    history: tuple[dict[str, float], ...] = ()
    figures: dict[str, Figure] = {}


class _Run(msgspec.Struct, frozen=True):
    """Of a run's report, what is compared."""

    recipe: str
    best: dict[str, float]
    history: tuple[dict[str, float], ...]
    seconds: float
    photos_per_s: float


def read_entrants(folders: Sequence[Path]) -> list[tuple[Entrant, Predictions]]:
    """Each folder's model and its predictions; models of one name go by their folders.

    Raises:
        DataError: a folder is neither a finished run nor an evaluation, or has no predictions.
    """
    found = [(read_entrant(folder), read_predictions(folder / PREDICTIONS)) for folder in folders]
    labels = _distinct([entrant.label for entrant, _ in found], [str(folder) for folder in folders])
    return [
        (msgspec.structs.replace(entrant, label=label, photos=len(told)), told)
        for (entrant, told), label in zip(found, labels, strict=True)
    ]


def read_entrant(folder: Path) -> Entrant:
    """What `folder` tells of its model, without figures.

    Raises:
        DataError: it is neither a finished run nor an evaluation.
    """
    try:
        if (folder / _RUN).is_file():
            return _of_run(folder)
        if (folder / _METRICS).is_file():
            return _of_evaluation(folder)
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(f"{folder} can't be compared: {error}.", hint="Evaluate or train again.") from error
    raise DataError(
        f"{folder} is neither a finished run nor what `bintally evaluate` wrote.",
        hint="Name folders with run.json (`bintally train`) or metrics.json (`bintally evaluate --out`).",
    )


def _of_run(folder: Path) -> Entrant:
    run = msgspec.json.decode((folder / _RUN).read_bytes(), type=_Run)
    recipe = msgspec.json.decode((folder / _RECIPE).read_bytes(), type=dict[str, Any])
    weights = folder / _WEIGHTS
    return Entrant(
        label=run.recipe,
        folder=str(folder),
        kind="run",
        backbone=recipe.get("network", {}).get("backbone"),
        parameters=parameters_of(weights) if weights.is_file() else None,
        weights_mb=weights.stat().st_size / 1e6 if weights.is_file() else None,
        epochs=len(run.history),
        best_epoch=int(run.best["epoch"]),
        training_s=run.seconds,
        training_photos_per_s=run.photos_per_s,
        history=run.history,
    )


def _of_evaluation(folder: Path) -> Entrant:
    report = EvaluationReport.from_json((folder / _METRICS).read_bytes())
    card = _card(report)
    return Entrant(
        label=report.subject.model,
        folder=str(folder),
        kind="evaluation",
        backbone=card.recipe.get("network", {}).get("backbone") if card else None,
        weights_mb=card.model_bytes / 1e6 if card else None,
        counting_photos_per_s=report.photos_per_second,
    )


def _card(report: EvaluationReport) -> Card | None:
    """The judged bundle's card, if the bundle is still where it was and still the same."""
    bundle = report.subject.bundle
    try:
        card = msgspec.json.decode((BUNDLED.get(bundle, Path(bundle)) / CARD).read_bytes(), type=Card)
    except (OSError, msgspec.DecodeError):
        return None
    return card if card.model_sha256 == report.subject.model_sha256 else None


def parameters_of(weights: Path) -> int:
    """Learnt numbers in a safetensors file, by its header: 8 bytes of length, then JSON."""
    with weights.open("rb") as file:
        header = msgspec.json.decode(file.read(int.from_bytes(file.read(8), "little")), type=dict[str, Any])
    return sum(
        math.prod(tensor["shape"])
        for name, tensor in header.items()
        if name != "__metadata__" and not name.endswith(_BUFFERS)
    )


def _distinct(names: Sequence[str], folders: Sequence[str]) -> list[str]:
    labels = [name if names.count(name) == 1 else folder for name, folder in zip(names, folders, strict=True)]
    seen: dict[str, int] = {}
    for place, label in enumerate(labels):
        seen[label] = seen.get(label, 0) + 1
        if seen[label] > 1:
            labels[place] = f"{label} ({seen[label]})"
    return labels
