"""One network trained by several processes: gloo on this CPU, as NCCL on GPUs."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
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
from bintally.training.finished import TrainReport
from bintally.training.network import WEIGHTS
from bintally.training.recipe import Recipe
from bintally.training.run import CHECKPOINTS, train
from tests.training.conftest import tiny_recipe

LAST = Path(CHECKPOINTS) / "last.ckpt"

TWO = {"devices": 2}


def _recipe(**sections: dict[str, Any]) -> Recipe:
    """LayerNorm looks at each photo alone, so it does not matter who sees which; dropout would be drawn by each.

    A checkpoint every few steps, so that there is much to go on from.
    """
    ours: dict[str, dict[str, Any]] = {
        "network": {"backbone": "test_convnext", "drop_rate": 0.0},
        "augment": {"mixup": 0.4, "cutmix": 1.0, "rotate": 5},
        "balance": {"method": "class_weights"},
        "loop": {"epochs": 4, "batch_size": 16, "average": 0.9, "checkpoint_minutes": 1e-4},
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
    out = tmp_path_factory.mktemp("two") / "run"
    return out, _train(_recipe(), data, out, TWO)


def test_two_processes_have_the_losses_of_one(data: Path, tmp_path: Path, together: tuple[Path, TrainReport]) -> None:
    out, two = together
    one = _train(_recipe(), data, tmp_path / "one")
    for a, b in zip(one.history, two.history, strict=True):
        for figure in ("train_loss", "log_loss", "accuracy", "rmse"):
            assert a[figure] == pytest.approx(b[figure], abs=1e-5)
    assert one.identity == two.identity
    assert _furthest(tmp_path / "one", out) < 1e-5


def test_all_processes_stop_early_at_once(data: Path, tmp_path: Path) -> None:
    recipe = _recipe(
        loop={"epochs": 8, "batch_size": 16, "patience": 1},
        optimizer={"body_lr": 0.05, "head_lr": 0.05, "schedule": "constant"},
    )
    one, two = (_train(recipe, data, tmp_path / str(n), {"devices": n}) for n in (1, 2))
    assert one.stopped_early
    assert two.stopped_early
    assert len(one.history) == len(two.history) < 8


_CHILD = """
import sys
from pathlib import Path
from tests.training.test_several_processes import _recipe, _train
_train(_recipe(), Path(sys.argv[1]), Path(sys.argv[2]), {"devices": 2, "restarts": int(sys.argv[3])})
"""


def _started(data: Path, out: Path, *, restarts: int) -> "subprocess.Popen[bytes]":
    """A training of two processes that has begun and left a checkpoint."""
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(data), str(out), str(restarts)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 120
    while not (out / LAST).exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (out / LAST).exists(), child.communicate()[1]
    return child


def _trainers(child: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """The processes that train, below the one that was started and torchrun."""
    return [
        process
        for process in psutil.Process(child.pid).children(recursive=True)
        if "bintally.training.run" in process.cmdline() and "torch.distributed.run" not in process.cmdline()
    ]


def test_a_killed_process_is_started_again_and_nothing_differs(
    data: Path, tmp_path: Path, together: tuple[Path, TrainReport]
) -> None:
    with _started(data, tmp_path / "run", restarts=1) as child:
        time.sleep(0.2)
        _trainers(child)[-1].kill()
        _, said = child.communicate(timeout=200)
    assert child.returncode == 0, said
    assert _furthest(together[0], tmp_path / "run") == 0


def test_without_the_one_who_started_them_processes_end_and_can_go_on(
    data: Path, tmp_path: Path, together: tuple[Path, TrainReport]
) -> None:
    with _started(data, tmp_path / "run", restarts=0) as child:
        left = psutil.Process(child.pid).children(recursive=True)
        child.kill()
    _, alive = psutil.wait_procs(left, timeout=60)
    assert not alive
    assert not (tmp_path / "run" / "run.json").exists(), "it was killed too late to test anything"
    assert _train(_recipe(), data, tmp_path / "run", TWO).resumed_at_step > 0
    assert _furthest(together[0], tmp_path / "run") == 0


def test_two_machines_meet(data: Path, tmp_path: Path, together: tuple[Path, TrainReport]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", _NODE, str(data), str(tmp_path / "run"), f"127.0.0.1:{port}"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    nodes = [subprocess.Popen([*command, str(node)], env=env, stderr=subprocess.PIPE) for node in (0, 1)]
    for node in nodes:
        _, said = node.communicate(timeout=200)
        assert node.returncode == 0, said
    assert _furthest(together[0], tmp_path / "run") == 0


_NODE = """
import sys
from pathlib import Path
from tests.training.test_several_processes import _recipe, _train
_train(_recipe(), Path(sys.argv[1]), Path(sys.argv[2]), {"nodes": 2, "node": int(sys.argv[4]), "meet": sys.argv[3]})
"""


def test_what_a_process_has_to_say_comes_back(data: Path, tmp_path: Path) -> None:
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
