"""What a training writes is what is plotted: each step once, thinned, and no number that is none."""

from pathlib import Path

from bintally.registry.registration.run_files import read_run_files
from bintally.registry.tracking import curves
from bintally.registry.tracking.curves import Log, Point, points
from tests.registry.tracking.tracked import BEGAN, EPOCHS, STEPS_EACH, World


def _by_key(told: list[Point]) -> dict[str, list[Point]]:
    found: dict[str, list[Point]] = {}
    for point in told:
        found.setdefault(point.key, []).append(point)
    return found


def test_a_trainings_own_log_is_read(world: World) -> None:
    log = Log.read(world.run)
    assert [row.step for row in log.steps] == list(range(EPOCHS * STEPS_EACH))
    assert log.steps[7].loss is None, "as it was done last"
    assert (len(log.validations), len(log.system)) == (EPOCHS, EPOCHS)
    assert log.ended_at == BEGAN + EPOCHS * STEPS_EACH


def test_epochs_have_their_moments(world: World) -> None:
    told = _by_key(points(read_run_files(world.run), Log.read(world.run), ended_ms=1))
    accuracy = told["epoch/accuracy"]
    assert [point.step for point in accuracy] == [1, 2, 3, 4]
    assert [round(point.value, 6) for point in accuracy] == [0.3, 0.4, 0.5, 0.6]
    assert accuracy[1].at_ms == 1000 * (BEGAN + 2 * STEPS_EACH)
    assert [(point.step, point.value) for point in told["kept/accuracy"]] == [(2, 0.5)]
    assert told["kept/accuracy_blind"][0].value == 0.2
    assert told["training/seconds"][0].value == 61.5


def test_steps_are_thinned_to_means(world: World) -> None:
    told = _by_key(points(read_run_files(world.run), Log.read(world.run), ended_ms=1))
    losses = told["step/loss"]
    assert len(losses) == EPOCHS * STEPS_EACH / 2 <= curves.POINTS
    assert (losses[-1].step, losses[-1].value) == (EPOCHS * STEPS_EACH - 1, 1.0)
    assert told["step/photos_per_s"][0].value == 64.0, "parts of a phase are in no sum"
    assert told["system/gpu_0_utilization_percentage"][0].value == 99.0
    assert [point.step for point in told["system/process_memory_usage_megabytes"]] == [0, 1, 2, 3]


def test_a_run_without_a_log_has_the_figures_of_its_report(world: World, tmp_path: Path) -> None:
    for name in ("run.json", "recipe.json"):
        (tmp_path / name).write_bytes((world.run / name).read_bytes())
    log = Log.read(tmp_path)
    assert log.ended_at is None
    told = _by_key(points(read_run_files(tmp_path), log, ended_ms=9))
    assert {point.at_ms for some in told.values() for point in some} == {9}
    assert {key.partition("/")[0] for key in told} == {"epoch", "kept", "training"}


def test_what_is_no_number_is_no_point(world: World) -> None:
    files = read_run_files(world.run)
    row = {"epoch": 1.0, "train_loss": None, "log_loss": float("nan"), "top 2 (%)": 3.0, "fine": True}
    files.report.update(history=[row], best={}, blind_accuracy=None)
    told = _by_key(points(files, Log(steps=(), validations=(), system=()), ended_ms=0))
    assert set(told) == {"epoch/top 2 ___", "training/seconds", "training/photos_per_s"}
