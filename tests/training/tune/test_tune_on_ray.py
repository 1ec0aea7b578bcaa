"""Trials on a real Ray cluster of two nodes (two raylets on this machine), a CPU each."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import psutil
import pytest
import tomli_w
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

pytest.importorskip("ray", reason="Ray is not installed (pip install 'bintally[ray]')")

from bintally.training.network import WEIGHTS
from bintally.training.recipe import Recipe
from bintally.training.run import train
from bintally.training.tune.leaderboard import Leaderboard, TrialRow
from bintally.training.tune.on_ray import RayRunner, threads_each
from bintally.training.tune.run import tune
from bintally.training.tune.trial import EpochSeen, TrialEnd, TrialSpec
from tests.conftest import run_cli
from tests.training.conftest import tiny_recipe
from tests.training.ray_nodes import two_nodes
from tests.training.tune.recipes import BAD_RATE, GOOD_RATES, pruned_recipe, tuned_recipe
from tests.training.tune.searching import InlineRunner

# Ray opens its client server's log files and leaves closing them to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:Exception ignored in.*ray_client_server\.(out|err):pytest.PytestUnraisableExceptionWarning"
)

TRAINING = "bintally.training.tune.worker"
LAST = "checkpoints/last.ckpt"


@pytest.fixture(scope="module")
def client_address() -> Iterator[str]:
    """A cluster, and where a Ray Client finds it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with two_nodes(ray_client_server_port=port):
        yield f"ray://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def open_runners(client_address: str) -> Iterator[list[RayRunner]]:
    """None or one."""
    runners: list[RayRunner] = []
    yield runners
    for runner in runners:
        runner.close()


@pytest.fixture
def runner(open_runners: list[RayRunner]) -> RayRunner:
    """One for most trials here: its processes have imported torch once."""
    if not open_runners:
        open_runners.append(RayRunner("ray", parallel=2))
    return open_runners[0]


def _figures(board: Leaderboard) -> dict[int, object]:
    def of(row: TrialRow) -> object:
        return row.status, row.parameters, row.objective, row.epochs, row.error

    return {row.number: of(row) for row in board.rows}


def _training() -> list[psutil.Process]:
    """The processes that train on this test's cluster; others may do so on theirs."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if TRAINING in process.cmdline() and process.parent().name().startswith("ray::"):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def _spec(recipe: Recipe, data: Path, out: Path) -> TrialSpec:
    return TrialSpec(number=0, recipe=recipe.model_dump(mode="json"), data=str(data), out=str(out), threads=1)


def _long(epochs: int = 300) -> Recipe:
    """A minute of epochs, unless it is stopped."""
    return tiny_recipe(loop={"epochs": epochs})


def _wait_for(path: Path) -> None:
    until = time.monotonic() + 200
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.01)


class OneThread(InlineRunner):
    """As the nodes have it: more would sum in another order."""

    def run(self, spec: TrialSpec, epoch_seen: EpochSeen, *, deadline: float | None = None) -> TrialEnd:
        return super().run(msgspec.structs.replace(spec, threads=1), epoch_seen, deadline=deadline)


def test_the_command_tunes_over_a_ray_client_as_one_machine_does_which_goes_on_where_it_was(
    data: Path, tmp_path: Path, client_address: str
) -> None:
    recipe, local = tmp_path / "recipe.toml", OneThread()
    tuned = tuned_recipe({"sampler": "random", "trials": 2})
    recipe.write_text(tomli_w.dumps(tuned.model_dump(mode="json", exclude_none=True)))
    mixed = tmp_path / "mixed"
    ran = run_cli("tune", recipe, "--data", data, "--out", mixed, "--on", client_address, "--json")
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)["leaderboard"]["rows"]
    assert [row["status"] for row in told] == ["complete"] * 2
    whole = tune(recipe=recipe, data=data, out=tmp_path / "local", trials=3, runner=local)
    went_on = tune(recipe=recipe, data=data, out=mixed, trials=3, runner=local)
    assert [spec.number for spec in local.specs] == [0, 1, 2, 2]
    assert {row.status for row in whole.leaderboard.rows} == {"complete"}
    assert _figures(went_on.leaderboard) == _figures(whole.leaderboard)


@pytest.mark.parametrize(
    "who", ["the process that trains", pytest.param("the Ray worker over it", marks=pytest.mark.soak)]
)
def test_a_killed_trial_goes_on_from_its_checkpoint(data: Path, tmp_path: Path, runner: RayRunner, who: str) -> None:
    recipe = _long(epochs=6)

    def kill() -> None:
        _wait_for(tmp_path / "run" / LAST)
        training = _training()[0]
        process = training if who == "the process that trains" else training.parent()
        assert process is not None
        process.kill()

    with ThreadPoolExecutor(1) as killer:
        killed = killer.submit(kill)
        end = runner.run(_spec(recipe, data, tmp_path / "run"), lambda _epoch, _figures: True)
        killed.result()
    assert (end.status, len(end.history)) == ("complete", 6)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["resumed_at_step"] > 0
    train(recipe=recipe, data=data, out=tmp_path / "straight", threads=1)
    straight, went_on = (load_file(tmp_path / name / WEIGHTS) for name in ("straight", "run"))
    assert all(torch.equal(straight[name], went_on[name]) for name in straight)


def test_a_pruned_trial_ends_early_and_one_that_fails_is_told(data: Path, tmp_path: Path, runner: RayRunner) -> None:
    report = tune(recipe=pruned_recipe(), data=data, out=tmp_path / "tune", runner=runner)
    by_rate = {row.parameters["optimizer.head_lr"]: row for row in report.leaderboard.rows}
    assert by_rate[BAD_RATE].status == "pruned"
    assert by_rate[BAD_RATE].epochs < 5
    assert [by_rate[rate].epochs for rate in GOOD_RATES] == [5, 5]
    bad = tiny_recipe(network={"backbone": "no_such_network"})
    end = runner.run(_spec(bad, data, tmp_path / "bad"), lambda _epoch, _figures: True)
    assert end.status == "failed"
    assert "no_such_network" in end.error


def test_a_deadline_and_closing_stop_a_trial_between_epochs_too(
    data: Path, tmp_path: Path, open_runners: list[RayRunner], runner: RayRunner
) -> None:
    ends: list[TrialEnd] = []

    def run() -> None:
        ends.append(runner.run(_spec(_long(), data, tmp_path / "run"), lambda _epoch, _figures: True))

    waiting = threading.Thread(target=run)
    waiting.start()
    try:
        _wait_for(tmp_path / "run" / LAST)
        before = time.time()
        late = runner.run(_spec(_long(), data, tmp_path / "late"), lambda *_: True, deadline=before + 1)
        assert late.status == "stopped"
        assert time.time() - before < 20
        assert not ends
        training = _training()
        closing = time.monotonic()
    finally:
        runner.close()
        open_runners.remove(runner)
    waiting.join(timeout=30)
    assert time.monotonic() - closing < 20
    assert [end.status for end in ends] == ["stopped"]
    assert ends[0].history
    assert training
    assert not psutil.wait_procs(training, timeout=10)[1]
    assert runner.run(_spec(_long(), data, tmp_path / "never"), lambda *_: True).status == "stopped"
    assert not (tmp_path / "never").exists()


@given(st.lists(st.integers(0, 64), max_size=6), st.integers(1, 40))
def test_trials_share_a_cluster_as_well_as_they_can(cpus: list[int], trials: int) -> None:
    threads = threads_each(cpus, trials)
    assert threads >= 1
    assert threads == 1 or sum(count // threads for count in cpus) >= trials
    assert sum(count // (threads + 1) for count in cpus) < trials
