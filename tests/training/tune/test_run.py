"""Real small tunes on the rendered photos: every trial is trained, in processes of its own."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import optuna
import pytest
import torch
from safetensors.torch import load_file

from bintally.errors import ConfigError, TrainingError, UsageError
from bintally.training.finished import read_run
from bintally.training.network import WEIGHTS
from bintally.training.recipe import Recipe
from bintally.training.run import train
from bintally.training.tune.leaderboard import Leaderboard, run_folder
from bintally.training.tune.processes import ProcessRunner
from bintally.training.tune.run import tune
from bintally.training.tune.study import Study
from bintally.training.tune.trial import EpochSeen, Runner, TrialEnd, TrialSpec
from tests.training.conftest import run_here
from tests.training.forked import forked, get_ready, wait_for
from tests.training.tune.recipes import BAD_RATE, GOOD_RATES, pruned_recipe, tuned_recipe


class OneThread(ProcessRunner):
    """Processes of one thread, however many trials there are at a time: none has to import torch for another number."""

    def run(self, spec: TrialSpec, epoch_seen: EpochSeen, *, deadline: float | None = None) -> TrialEnd:
        return super().run(msgspec.structs.replace(spec, threads=1), epoch_seen, deadline=deadline)


@pytest.fixture(scope="module")
def runner() -> Iterator[ProcessRunner]:
    """One runner for all tunes here: its processes have imported torch once."""
    get_ready()
    with OneThread() as runner:
        yield runner


class Invented(Runner):
    """Trials whose figures are made up from what is tried: what is asked of Optuna does not need a training."""

    def __init__(self, epochs: int = 4) -> None:
        self.epochs = epochs
        self.ran: list[TrialSpec] = []

    def run(self, spec: TrialSpec, epoch_seen: EpochSeen, *, deadline: float | None = None) -> TrialEnd:
        self.ran.append(spec)
        rate = float(spec.recipe["optimizer"]["head_lr"])
        history: list[dict[str, float]] = []
        goes_on = True
        while goes_on and len(history) < self.epochs:
            row = {
                "epoch": len(history) + 1.0,
                "log_loss": rate + 1 / (len(history) + 1),
                "accuracy": 1 - rate,
                "rmse": 1.0,
            }
            history.append(row)
            goes_on = epoch_seen(len(history), row) or len(history) == self.epochs
        best = {**history[-1], "forward_ms": 1 / rate}
        return TrialEnd(
            number=spec.number, status="complete" if goes_on else "pruned", best=best, history=history, seconds=1.0
        )

    def close(self) -> None: ...


def _tried(out: Path) -> list[dict[str, Any]]:
    board = msgspec.json.decode((out / "leaderboard.json").read_bytes(), type=Leaderboard)
    return [row.parameters for row in sorted(board.rows, key=lambda row: row.number)]


def test_a_tune_leaves_a_leaderboard_a_page_and_the_best_recipe(
    data: Path, tmp_path: Path, runner: ProcessRunner
) -> None:
    seen: list[Leaderboard] = []
    recipe = tuned_recipe({"trials": 3, "parallel": 2})
    report = tune(recipe=recipe, data=data, out=tmp_path, runner=runner, seen=seen.append)
    rows = report.leaderboard.rows
    assert [row.status for row in rows] == ["complete"] * 3
    assert rows[0].number == report.best
    assert rows[0].objective["log_loss"] == min(row.objective["log_loss"] for row in rows)
    assert len({row.parameters["optimizer.head_lr"] for row in rows}) == 3
    assert all(row.epochs == 2 and row.seconds and row.start <= row.end for row in rows)
    assert {row.status for board in seen for row in board.rows} == {"running", "complete"}
    for row in rows:
        trained, run = read_run(tmp_path / row.run)
        assert trained.optimizer.head_lr == row.parameters["optimizer.head_lr"]
        assert run.best["log_loss"] == row.objective["log_loss"]
    assert (tmp_path / "leaderboard.csv").read_text().startswith("trial,status,optimizer.head_lr,log_loss,start,")
    page = (tmp_path / "tune.html").read_text()
    assert page.count("<svg") == 2  # history and parallel coordinates
    assert "too few to say which parameter matters" in page

    # The best trial becomes a recipe that reproduces it.
    again = train(recipe=tmp_path / "best.toml", data=data, out=tmp_path / "again", threads=1)
    best = load_file(tmp_path / rows[0].run / WEIGHTS)
    made = load_file(tmp_path / "again" / WEIGHTS)
    assert all(torch.equal(best[name], made[name]) for name in best)
    assert again.identity == read_run(tmp_path / rows[0].run)[1].identity


def test_a_pruned_trial_ends_early(data: Path, tmp_path: Path, runner: ProcessRunner) -> None:
    report = tune(recipe=pruned_recipe(), data=data, out=tmp_path, runner=runner)
    by_rate = {row.parameters["optimizer.head_lr"]: row for row in report.leaderboard.rows}
    assert by_rate[BAD_RATE].status == "pruned"
    assert by_rate[BAD_RATE].epochs < 5
    assert [by_rate[rate].epochs for rate in GOOD_RATES] == [5, 5]
    assert not (tmp_path / by_rate[BAD_RATE].run / "run.json").exists()


def test_a_trial_that_fails_is_told_and_the_others_go_on(data: Path, tmp_path: Path, runner: ProcessRunner) -> None:
    space = {"network.backbone": {"choices": ["no_such_network", "test_resnet"]}}
    report = tune(recipe=tuned_recipe({"sampler": "grid", "space": space}), data=data, out=tmp_path, runner=runner)
    good, bad = report.leaderboard.rows
    assert (good.status, bad.status) == ("complete", "failed")
    assert "no_such_network" in bad.error
    assert "no_such_network" in (tmp_path / "leaderboard.csv").read_text()
    assert Recipe.read(tmp_path / "best.toml").network.backbone == "test_resnet"


def test_where_every_trial_fails_the_first_error_is_told(data: Path, tmp_path: Path) -> None:
    class Failing(Invented):
        def run(self, spec: TrialSpec, epoch_seen: EpochSeen, *, deadline: float | None = None) -> TrialEnd:
            return TrialEnd(number=spec.number, status="failed", best={}, history=[], seconds=1.0, error="No room.")

    with pytest.raises(TrainingError, match=r"None of 2 trials was trained to its end: No room\."):
        tune(recipe=tuned_recipe({"trials": 2}), data=data, out=tmp_path, runner=Failing())
    assert "No room." in (tmp_path / "tune.html").read_text()


def test_two_aims_make_a_front_with_a_recipe_each(data: Path, tmp_path: Path) -> None:
    recipe = tuned_recipe({"trials": 6, "objective": "accuracy_latency"})
    report = tune(recipe=recipe, data=data, out=tmp_path, runner=Invented())
    board = report.leaderboard
    assert len(board.front) == 6  # the invented rate makes one better as it makes the other worse
    accuracies = [row.objective["accuracy"] for row in board.front]
    assert accuracies == sorted(accuracies, reverse=True)
    assert len(list(tmp_path.glob("front-*.toml"))) == 5
    assert Recipe.read(tmp_path / "best.toml").optimizer.head_lr == board.front[0].parameters["optimizer.head_lr"]
    assert "Accuracy against latency" in (tmp_path / "tune.html").read_text()


def test_a_latency_is_measured_where_it_is_an_aim(data: Path, tmp_path: Path, runner: ProcessRunner) -> None:
    recipe = tuned_recipe({"trials": 1, "objective": "accuracy_latency"}, loop={"epochs": 1})
    report = tune(recipe=recipe, data=data, out=tmp_path, runner=runner)
    assert 0 < report.leaderboard.front[0].objective["forward_ms"] < 1000


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_the_same_seed_tries_the_same_values_whether_or_not_it_was_interrupted(
    data: Path, tmp_path: Path, sampler: str
) -> None:
    recipe = tuned_recipe({"trials": 7, "sampler": sampler, "random_trials": 3})
    for name, starts in (("whole", [7]), ("parts", [2, 5, 7])):
        for trials in starts:
            tune(recipe=recipe, data=data, out=tmp_path / name, trials=trials, runner=Invented())
    assert _tried(tmp_path / "whole") == _tried(tmp_path / "parts")
    assert len({str(values) for values in _tried(tmp_path / "whole")}) == 7
    tune(recipe=recipe, data=data, out=tmp_path / "other", seed=1, runner=Invented())
    assert _tried(tmp_path / "whole") != _tried(tmp_path / "other")


def test_a_finished_tune_trains_nothing_again(data: Path, tmp_path: Path) -> None:
    recipe = tuned_recipe({"trials": 3})
    first = tune(recipe=recipe, data=data, out=tmp_path, runner=Invented())
    runner = Invented()
    again = tune(recipe=recipe, data=data, out=tmp_path, runner=runner)
    assert not runner.ran
    assert again.trials_run == 0
    assert again.leaderboard == first.leaderboard


def test_asha_stops_most_and_trains_the_best_to_the_end(data: Path, tmp_path: Path) -> None:
    recipe = tuned_recipe({"trials": 20, "sampler": "random", "pruner": "asha", "reduction": 3}, loop={"epochs": 9})
    report = tune(recipe=recipe, data=data, out=tmp_path, runner=Invented(epochs=9))
    statuses = [row.status for row in report.leaderboard.rows]
    assert 1 <= statuses.count("complete") < 10 < statuses.count("pruned")
    rates = [float(row.parameters["optimizer.head_lr"]) for row in report.leaderboard.rows]
    assert rates[0] == min(rates)


def test_another_tune_in_the_folder_is_told_by_what_differs(data: Path, tmp_path: Path) -> None:
    recipe = tuned_recipe({"trials": 1})
    tune(recipe=recipe, data=data, out=tmp_path, runner=Invented())
    with pytest.raises(ConfigError, match=r"a tune with other tune.objective, tune.seed\..*--fresh"):
        tune(recipe=recipe, data=data, out=tmp_path, objective="accuracy", seed=5, runner=Invented())
    with pytest.raises(ConfigError, match="a tune with other recipe"):
        other = tuned_recipe({"trials": 1}, optimizer={"weight_decay": 0.5})
        tune(recipe=other, data=data, out=tmp_path, runner=Invented())
    assert tune(recipe=recipe, data=data, out=tmp_path, objective="rmse", fresh=True, runner=Invented()).trials_run == 1


def test_one_process_tunes_in_a_folder(data: Path, tmp_path: Path) -> None:
    class Meddling(Invented):
        def run(self, spec: TrialSpec, epoch_seen: EpochSeen, *, deadline: float | None = None) -> TrialEnd:
            with pytest.raises(UsageError, match="Another process tunes in"):
                tune(recipe=recipe, data=data, out=tmp_path, runner=Invented())
            return super().run(spec, epoch_seen)

    recipe = tuned_recipe({"trials": 1})
    tune(recipe=recipe, data=data, out=tmp_path, runner=Meddling())


def test_what_breaks_in_the_parent_ends_the_tune(data: Path, tmp_path: Path) -> None:
    class Broken(Invented):
        closed = False

        def run(self, spec: TrialSpec, epoch_seen: EpochSeen, *, deadline: float | None = None) -> TrialEnd:
            raise RuntimeError("no machine")

        def close(self) -> None:
            self.closed = True

    runner = Broken()
    with pytest.raises(RuntimeError, match="no machine"):
        tune(recipe=tuned_recipe({"trials": 3, "parallel": 2}), data=data, out=tmp_path, runner=runner)
    assert runner.closed


def test_a_journal_torn_by_a_kill_is_read_to_its_last_whole_line(data: Path, tmp_path: Path) -> None:
    recipe = tuned_recipe({"trials": 3})
    study = Study(tmp_path, recipe)
    first = study.next()
    journal = tmp_path / "study.jsonl"
    journal.write_bytes(journal.read_bytes() + b'{"op_code": 4, "wor')
    opened = Study(tmp_path, recipe)
    assert opened.next() == first, "what was half done comes first, with the values it had"
    second = opened.next()
    assert second is not None
    assert second.number == 1


def test_a_trial_killed_between_its_values_gets_the_rest(tmp_path: Path) -> None:
    space = {"optimizer.head_lr": {"low": 0.1, "high": 0.2}, "loop.batch_size": {"choices": [16, 32]}}
    recipe = tuned_recipe({"space": space})
    Study(tmp_path, recipe).next()
    journal = tmp_path / "study.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    last = max(n for n, line in enumerate(lines) if b"loop.batch_size" in line)
    journal.write_bytes(b"".join(lines[:last]))
    chosen = Study(tmp_path, recipe).next()
    assert chosen is not None
    assert chosen.values.keys() == space.keys()


def tune_alone(recipe: Path, data: Path, out: Path) -> None:
    with OneThread() as runner:
        tune(recipe=Recipe.read(recipe), data=data, out=out, runner=runner)


def test_a_killed_tune_goes_on_and_no_child_outlives_it(data: Path, tmp_path: Path, runner: ProcessRunner) -> None:
    """Kills the parent while trials are half done; what comes out is what an uninterrupted tune has."""
    recipe = tuned_recipe({"trials": 3, "parallel": 2, "sampler": "random"}, loop={"epochs": 20})
    out, file = tmp_path / "out", tmp_path / "recipe.toml"
    file.write_text(_toml(recipe))
    parent = forked(tune_alone, file, data, out)
    try:
        wait_for(out / run_folder(0) / "checkpoints" / "last.ckpt", parent)
        assert parent.pid is not None
        children = _children(parent.pid)
    finally:
        parent.kill()
        parent.join()
    assert children
    assert _all_gone(children)
    states = optuna.load_study(study_name="tune", storage=_storage(out)).get_trials()
    half_done = [trial for trial in states if trial.state == optuna.trial.TrialState.RUNNING]
    assert half_done

    # The same command once more: half-done trials keep their values and their epochs.
    report = tune(recipe=Recipe.read(file), data=data, out=out, runner=runner)
    rows = {row.number: row for row in report.leaderboard.rows}
    assert [rows[number].status for number in range(3)] == ["complete"] * 3
    assert all(rows[trial.number].parameters == trial.params for trial in half_done)
    assert read_run(out / run_folder(0))[1].resumed_at_step > 0
    whole = tune(recipe=Recipe.read(file), data=data, out=tmp_path / "whole", runner=runner)
    figures = {row.number: (row.parameters, row.objective, row.epochs) for row in whole.leaderboard.rows}
    assert figures == {number: (row.parameters, row.objective, row.epochs) for number, row in rows.items()}


class Stuck(Runner):
    """Trains until it is closed, and says in a file that it does."""

    def __init__(self, begun: Path) -> None:
        self.begun, self.closed = begun, threading.Event()

    def run(self, spec: TrialSpec, epoch_seen: EpochSeen, *, deadline: float | None = None) -> TrialEnd:
        self.begun.touch()
        self.closed.wait()
        return TrialEnd(number=spec.number, status="stopped", best={}, history=[], seconds=0.0)

    def close(self) -> None:
        self.closed.set()


def tune_stuck(data: Path, out: Path, begun: Path) -> None:
    tune(recipe=tuned_recipe({"trials": 1}), data=data, out=out, runner=Stuck(begun))


def test_ctrl_c_does_not_wait_for_a_trial(data: Path, tmp_path: Path) -> None:
    """It once did: polars, imported anywhere, lets a wait without end go on after the signal."""
    begun, said = tmp_path / "begun", tmp_path / "said"
    parent = forked(tune_stuck, data, tmp_path / "out", begun, stderr=said)
    try:
        wait_for(begun, parent)
        time.sleep(0.5)  # its main thread waits
        assert parent.pid is not None
        os.kill(parent.pid, signal.SIGINT)
        parent.join(20)
        assert parent.exitcode is not None
    finally:
        parent.kill()
        parent.join()
    assert "KeyboardInterrupt" in said.read_text()


def _storage(out: Path) -> optuna.storages.BaseStorage:
    from optuna.storages.journal import JournalFileBackend

    return optuna.storages.JournalStorage(JournalFileBackend(str(out / "study.jsonl")))


def _toml(recipe: Recipe) -> str:
    import tomli_w

    return tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True))


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in listed for child in path.read_text().split()]


def _all_gone(pids: list[int], timeout_s: float = 20) -> bool:
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if not any(_alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_the_command_prints_json(
    data: Path,
    tmp_path: Path,
    runner: ProcessRunner,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("bintally.training.tune.run.ProcessRunner", lambda: nullcontext(runner))
    file = tmp_path / "recipe.toml"
    file.write_text(_toml(tuned_recipe({"trials": 1}, loop={"epochs": 1})))
    assert run_here(monkeypatch, "tune", file, "--data", data, "--out", tmp_path / "out", "--json") == 0
    assert json.loads(capfd.readouterr().out)["leaderboard"]["rows"][0]["status"] == "complete"
    unknown = tuned_recipe({"trials": 1, "space": {"optimizer.head_rl": {"low": 0.1, "high": 0.2}}})
    file.write_text(_toml(unknown))
    assert run_here(monkeypatch, "tune", file, "--data", data, "--out", tmp_path / "other") == 2
    assert "Did you mean 'head_lr'" in capfd.readouterr().err
