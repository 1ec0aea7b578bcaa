"""One network trained by several processes: gloo on this CPU, as NCCL on GPUs."""

import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file

from bintally.errors import ConfigError, TrainingError, UsageError
from bintally.training import ranks
from bintally.training.finished import TrainReport, read_run
from bintally.training.launch import Processes, launch
from bintally.training.network import WEIGHTS
from bintally.training.recipe import Recipe
from bintally.training.run import CHECKPOINTS, train
from tests.conftest import ROOT
from tests.training import one_of_several
from tests.training.conftest import tiny_recipe
from tests.training.forked import forked, get_ready, wait_for
from tests.training.one_of_several import Heard

LAST = Path(CHECKPOINTS) / "last.ckpt"

TWO = {"devices": 2}


def _recipe(**sections: dict[str, Any]) -> Recipe:
    """LayerNorm looks at each photo alone, so it does not matter who sees which; dropout would be drawn by each.

    A checkpoint every few steps, so that there is much to go on from. Soon no more of them are right: it stops early.
    """
    ours: dict[str, dict[str, Any]] = {
        "network": {"backbone": "test_convnext", "drop_rate": 0.0},
        "augment": {"mixup": 0.4, "cutmix": 1.0, "rotate": 5},
        "balance": {"method": "class_weights"},
        "loop": {
            "epochs": 40,
            "batch_size": 16,
            "average": 0.9,
            "checkpoint_minutes": 1e-4,
            "patience": 4,
            "monitor": "accuracy",
        },
        "optimizer": {"schedule": "constant"},
    }
    return tiny_recipe(**{**ours, **sections})


def _train(recipe: Recipe, data: Path, out: Path, processes: Mapping[str, Any] | None = None) -> TrainReport:
    return train(recipe=recipe, data=data, out=out, threads=1, processes=processes)


def _furthest(first: Path, second: Path) -> float:
    a, b = load_file(first / WEIGHTS), load_file(second / WEIGHTS)
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.fixture(scope="module")
def together(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainReport]:
    """A run of two processes, nothing happening to it."""
    get_ready()
    out = tmp_path_factory.mktemp("two") / "run"
    return out, _train(_recipe(), data, out, TWO)


def test_two_processes_have_the_losses_of_one_and_stop_early_when_it_does(
    data: Path, tmp_path: Path, together: tuple[Path, TrainReport]
) -> None:
    out, two = together
    one = _train(_recipe(), data, tmp_path / "one")
    assert one.stopped_early
    assert two.stopped_early
    assert len(one.history) == len(two.history) < 40
    for a, b in zip(one.history, two.history, strict=True):
        for figure in ("train_loss", "log_loss", "accuracy", "rmse"):
            assert a[figure] == pytest.approx(b[figure], abs=1e-5)
    assert one.identity == two.identity
    assert _furthest(tmp_path / "one", out) < 1e-5


def train_two(data: Path, out: Path, restarts: int) -> None:
    _train(_recipe(), data, out, {"devices": 2, "restarts": restarts})


def _trainers(starter: ForkServerProcess) -> list[psutil.Process]:
    """The processes that train, below the one that was started and torchrun."""
    return [
        process
        for process in psutil.Process(starter.pid).children(recursive=True)
        if "bintally.training.run" in process.cmdline() and "torch.distributed.run" not in process.cmdline()
    ]


def _kill_a_trainer(starter: ForkServerProcess, run: Path) -> None:
    wait_for(run / LAST, starter)
    killed = _trainers(starter)[-1]
    killed.kill()
    killed.wait(60)


@pytest.mark.soak
def test_a_killed_process_is_started_again_and_nothing_differs(
    data: Path, tmp_path: Path, together: tuple[Path, TrainReport]
) -> None:
    starter = forked(train_two, data, tmp_path / "run", 1)
    _kill_a_trainer(starter, tmp_path / "run")
    starter.join(200)
    assert starter.exitcode == 0
    assert read_run(tmp_path / "run")[1].resumed_at_step > 0
    assert _furthest(together[0], tmp_path / "run") == 0


def test_a_process_is_started_again_and_without_their_starter_all_end_and_two_machines_go_on(
    data: Path, tmp_path: Path, together: tuple[Path, TrainReport]
) -> None:
    run = tmp_path / "run"
    starter = forked(train_two, data, run, 1)
    _kill_a_trainer(starter, run)
    left_off = (run / LAST).stat().st_mtime_ns
    _wait_until(lambda: (run / LAST).stat().st_mtime_ns > left_off)
    left = psutil.Process(starter.pid).children(recursive=True)
    starter.kill()
    starter.join()
    _, alive = psutil.wait_procs(left, timeout=60)
    assert len(left) >= 3  # torchrun, and two that train
    assert not alive
    assert not (run / "run.json").exists(), "it was killed too late to test anything"
    assert all(report.resumed_at_step > 0 for report in _trained_by_two_machines(data, run))
    assert _furthest(together[0], run) == 0


def _wait_until(seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _trained_by_two_machines(data: Path, run: Path) -> list[TrainReport]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        meet = f"127.0.0.1:{probe.getsockname()[1]}"
    with ThreadPoolExecutor(2) as machines:
        of_node = partial(_train_on, _recipe(), data, run, meet)
        return list(machines.map(of_node, (0, 1), timeout=200))


def _train_on(recipe: Recipe, data: Path, run: Path, meet: str, node: int) -> TrainReport:
    return _train(recipe, data, run, {"nodes": 2, "node": node, "meet": meet})


def test_what_a_process_says_and_what_is_wrong_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    heard = Heard()
    with pytest.raises(TrainingError, match="process 0 of 2 has had enough") as raised:
        launch(one_of_several.__name__, Processes(), Processes(devices=2), heard)
    assert raised.value.hint == "Ask another one."
    assert heard.said == one_of_several.SAID


def test_batches_that_cannot_be_shared_are_told(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "world", lambda: 2)
    with pytest.raises(TrainingError, match=r"Batches of 15 can't be shared evenly by 2 processes.*a multiple"):
        _train(_recipe(loop={"epochs": 1, "batch_size": 15}), data, tmp_path / "run")


@pytest.mark.soak
def test_what_a_process_that_trains_has_to_say_comes_back(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"Batches of 15 can't be shared evenly by 2 processes.*a multiple"):
        _train(_recipe(loop={"epochs": 1, "batch_size": 15}), data, tmp_path / "run", TWO)


def test_what_several_processes_cannot_do_is_told(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"2 machines have to meet.*--meet HOST:PORT"):
        _train(_recipe(), data, tmp_path / "run", {"nodes": 2})
    with pytest.raises(UsageError, match="Callbacks can't be handed"):
        train(recipe=_recipe(), data=data, out=tmp_path / "run", processes=TWO, callbacks=[Callback()])
    with pytest.raises(ConfigError, match="meet"):
        _train(_recipe(), data, tmp_path / "run", {"nodes": 2, "meet": "nowhere"})


def test_alone_nothing_is_shared() -> None:
    value = torch.tensor(3.0, requires_grad=True)
    assert ranks.world() == 1
    assert ranks.is_first()
    assert float(ranks.mean(value)) == 3
    assert ranks.gathered("x") == ["x"]
    assert ranks.of_first(5) == 5
    assert ranks.part(7) == slice(0, 7)


@given(length=st.integers(0, 50), together=st.integers(1, 9))
def test_parts_are_all_of_it_and_nearly_even(length: int, together: int) -> None:
    parts = [ranks.part_of(length, place, together) for place in range(together)]
    assert [i for part in parts for i in range(length)[part]] == list(range(length))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1
