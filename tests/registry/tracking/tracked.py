"""What a training leaves, made by its own hands; and MLflow, asked."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bintally.bundle import Bundle
from bintally.registry.place import Registry
from bintally.registry.tracking.reached import reached
from bintally.training.run_log import LOG, STEPS, SYSTEM, VALIDATIONS, StepRow, Stream, SystemRow, ValidationRow
from tests.databases import new_registry
from tests.registry.card.cards import report_of
from tests.registry.registration.runs import make_data, make_exported, make_run

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

BEGAN = 1_790_000_000.0  # Unix time
EPOCHS, STEPS_EACH = 4, 100


@dataclass(frozen=True)
class World:
    """A training's folders."""

    run: Path
    bundle: Path
    report: Path


def make_world(folder: Path) -> World:
    """A run of four epochs, its bundle, and what an evaluation found of that."""
    data = make_data(folder / "data", {"a": "train", "b": "val", "c": "test"})
    run = make_run(folder / "run", data, loop={"epochs": EPOCHS, "batch_size": 64}, note="ä" * 7000)
    write_log(run)
    bundle = make_exported(folder / "bundle", run)
    (folder / "report").mkdir()
    report = report_of(Bundle.open(bundle).card.model_sha256)
    (folder / "report" / "metrics.json").write_bytes(report.to_json())
    (folder / "report" / "report.html").write_text("<p>a report</p>")
    return World(run, bundle, folder / "report")


def write_log(run: Path) -> None:
    """The streams that a training writes, with a step done twice and a torn line; and the history that came of it."""
    history = []
    steps = Stream[StepRow](run / LOG / STEPS)
    validations = Stream[ValidationRow](run / LOG / VALIDATIONS)
    system = Stream[SystemRow](run / LOG / SYSTEM)
    for epoch in range(1, EPOCHS + 1):
        for number in range(STEPS_EACH):
            steps.write(_step((epoch - 1) * STEPS_EACH + number, epoch))
        figures = {"accuracy": 0.2 + 0.1 * epoch, "log_loss": 2.0 / epoch}
        at = BEGAN + epoch * STEPS_EACH
        validations.write(ValidationRow(epoch=epoch, step=epoch * STEPS_EACH - 1, at=at, seconds=1.0, figures=figures))
        history.append({"epoch": float(epoch), "train_loss": 3.0 / epoch, "seconds": 100.0, **figures})
        system.write(
            SystemRow(
                at=at, cpu_percent=90.0, process_percent=80.0, io_percent=None, read_mb_s=0.0, written_mb_s=0.0,
                rss_mb=1000.0 + epoch, memory_percent=20.0, gpu_percent=(99.0,), gpu_memory_percent=(50.0,),
            )
        )  # fmt: skip
    steps.write(_step(7, 1, loss=None))
    for stream in (steps, validations, system):
        stream.close()
    with (run / LOG / STEPS).open("ab") as file:
        file.write(b'{"step":400,"epo')
    told = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(told | {"history": history}))


def _step(step: int, epoch: int, loss: float | None = 1.0) -> StepRow:
    seconds = {"forward": 0.5, "data": 0.5, "other:gc": 0.25}
    return StepRow(step=step, epoch=epoch, at=BEGAN + step, loss=loss, rate=1e-3, photos=64, seconds=seconds)


def place_with(place: Path, store: Path) -> Registry:
    """A new registry there, open, with a copy of that MLflow store."""
    registry = new_registry(place)
    (place / "tracking").mkdir()
    shutil.copyfile(store, place / "tracking" / "mlflow.sqlite")
    return registry


@contextmanager
def asked(registry: Registry) -> "Iterator[MlflowClient]":
    """MLflow, to be asked what it knows."""
    with reached(registry) as tracker:
        yield tracker.client


def runs(client: "MlflowClient", model: str = "bintally") -> "list[Run]":
    """All runs of a model's experiment."""
    experiment = client.get_experiment_by_name(model)
    return [] if experiment is None else list(client.search_runs([experiment.experiment_id]))


def curve(client: "MlflowClient", run_id: str, key: str) -> list[tuple[int, float]]:
    """The points of a curve: step and value."""
    return [(point.step, point.value) for point in client.get_metric_history(run_id, key)]
