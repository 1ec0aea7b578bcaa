"""One network trained by processes that Ray places, on a real cluster of two nodes (two raylets on this machine)."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

pytest.importorskip("ray", reason="Ray is not installed (pip install 'bintally[ray]')")

from bintally.errors import TrainingError, UsageError
from bintally.training.finished import TrainReport
from bintally.training.launch import Processes
from bintally.training.on_ray import train_on_ray
from bintally.training.run import train
from tests.training import one_of_several
from tests.training.one_of_several import Heard
from tests.training.ray_nodes import two_nodes
from tests.training.test_several_processes import LAST, _furthest, _recipe

WORKER = "RayTrainWorker"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")  # of a default of its own


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with two_nodes() as address:
        yield address


def _kill_one_when(begun: Path, killed: list[int]) -> None:
    deadline = time.monotonic() + 200
    while not begun.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    for process in psutil.Process().children(recursive=True):  # this cluster's; others may train on theirs
        with suppress(psutil.NoSuchProcess):
            if any(WORKER in word for word in process.cmdline()):
                process.kill()
                killed.append(process.pid)
                return


def test_weights_are_those_of_one_process(data: Path, tmp_path: Path, cluster: str) -> None:
    _train_on_ray(data, tmp_path / "ray")
    assert _furthest(_alone(data, tmp_path), tmp_path / "ray") < 1e-5


@pytest.mark.soak
def test_a_killed_worker_is_started_again_and_weights_are_those_of_one_process(
    data: Path, tmp_path: Path, cluster: str
) -> None:
    out, killed = tmp_path / "ray", list[int]()
    killer = threading.Thread(target=_kill_one_when, args=(out / LAST, killed), daemon=True)
    killer.start()
    report = _train_on_ray(data, out)
    killer.join()
    assert killed
    assert report.resumed_at_step > 0
    assert _furthest(_alone(data, tmp_path), out) < 1e-5


def _train_on_ray(data: Path, out: Path) -> TrainReport:
    processes = {"devices": 2, "on": "ray", "restarts": 2}
    return train(recipe=_recipe(), data=data, out=out, threads=1, processes=processes)


def _alone(data: Path, folder: Path) -> Path:
    train(recipe=_recipe(), data=data, out=folder / "one", threads=1)
    return folder / "one"


def test_what_a_worker_says_and_what_is_wrong_come_back(cluster: str) -> None:
    heard = Heard()
    processes = Processes(on="ray")
    with pytest.raises(TrainingError, match="process 0 of 1 has had enough") as raised:
        train_on_ray(one_of_several.work, processes, processes, heard)
    assert raised.value.hint == "Ask another one."
    assert heard.said == one_of_several.SAID


@pytest.mark.soak
def test_what_a_worker_that_trains_has_to_say_comes_back(data: Path, tmp_path: Path, cluster: str) -> None:
    recipe = _recipe(loop={"epochs": 1, "batch_size": 15})
    with pytest.raises(TrainingError, match=r"Batches of 15 can't be shared evenly by 2 processes.*a multiple"):
        train(recipe=recipe, data=data, out=tmp_path / "run", threads=1, processes={"devices": 2, "on": "ray"})


def test_no_cluster_is_told(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no Ray cluster at ray://127\.0\.0\.1:1.*ray start"):
        train(recipe=_recipe(), data=data, out=tmp_path / "run", processes={"on": "ray://127.0.0.1:1"})
