"""Trials in processes of their own: what dies, hangs or is stopped takes nothing else with it."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bintally.training.tune.processes import ProcessRunner
from bintally.training.tune.trial import TrialSpec
from tests.training.tune.recipes import tuned_recipe


@pytest.fixture(scope="module")
def runner() -> Iterator[ProcessRunner]:
    """One for all tests here: its process has imported torch once."""
    with ProcessRunner() as runner:
        yield runner


def _spec(data: Path, out: Path, *, epochs: int = 3, number: int = 0) -> TrialSpec:
    recipe = tuned_recipe({}, loop={"epochs": epochs}).model_dump(mode="json", exclude={"tune"})
    return TrialSpec(number=number, recipe=recipe, data=str(data), out=str(out), threads=1)


def test_a_trial_tells_its_epochs_and_a_finished_one_tells_them_again(
    data: Path, tmp_path: Path, runner: ProcessRunner
) -> None:
    told: list[int] = []
    for _ in range(2):
        end = runner.run(_spec(data, tmp_path), lambda epoch, figures: not told.append(epoch))  # type: ignore[func-returns-value]
        assert (end.status, len(end.history)) == ("complete", 3)
        assert end.best["log_loss"] == min(row["log_loss"] for row in end.history)
    assert told == [1, 2, 3, 1, 2, 3]


def test_a_trial_that_is_told_to_stop_is_pruned_and_can_go_on(
    data: Path, tmp_path: Path, runner: ProcessRunner
) -> None:
    end = runner.run(_spec(data, tmp_path), lambda epoch, figures: epoch < 2)
    assert (end.status, len(end.history)) == ("pruned", 2)
    told: list[int] = []
    end = runner.run(_spec(data, tmp_path), lambda epoch, figures: not told.append(epoch))  # type: ignore[func-returns-value]
    assert (end.status, told) == ("complete", [1, 2, 3])


def test_a_process_that_dies_is_told_with_its_last_words(data: Path, tmp_path: Path, runner: ProcessRunner) -> None:
    def kill(epoch: int, figures: dict[str, float]) -> bool:
        for child in list(runner._busy):
            child._process.kill()
        return True

    end = runner.run(_spec(data, tmp_path), kill)
    assert end.status == "failed"
    assert "was killed by signal 9" in end.error
    assert len(end.history) == 1
    assert runner.run(_spec(data, tmp_path), lambda *_: True).status == "complete", "another process goes on"


def test_a_closed_runner_stops_its_trials_and_takes_no_more(data: Path, tmp_path: Path) -> None:
    runner = ProcessRunner()
    threading.Timer(1.0, runner.close).start()
    assert runner.run(_spec(data, tmp_path, epochs=1000), lambda *_: True).status == "stopped"
    assert runner.run(_spec(data, tmp_path), lambda *_: True).status == "stopped"


def test_a_deadline_stops_a_trial_and_what_it_told_is_kept(data: Path, tmp_path: Path, runner: ProcessRunner) -> None:
    told: list[int] = []

    def slow(epoch: int, figures: dict[str, float]) -> bool:
        told.append(epoch)
        time.sleep(max(0.0, deadline + 0.5 - time.time()))  # the process is killed while it waits for the answer
        return True

    assert runner.run(_spec(data, tmp_path / "warm", epochs=1), lambda *_: True).status == "complete"
    deadline = time.time() + 2
    end = runner.run(_spec(data, tmp_path, epochs=1000), slow, deadline=deadline)
    assert (end.status, end.error) == ("stopped", "")
    assert len(end.history) == len(told) <= 1


def test_what_is_wrong_with_a_recipe_is_the_trials_error(data: Path, tmp_path: Path, runner: ProcessRunner) -> None:
    spec = _spec(data, tmp_path)
    broken = msgspec.structs.replace(spec, recipe={**spec.recipe, "lopo": {}})
    end = runner.run(broken, lambda *_: True)
    assert end.status == "failed"
    assert "Did you mean 'loop'" in end.error
