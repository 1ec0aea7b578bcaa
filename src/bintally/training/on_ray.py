"""Trainings on a Ray cluster: Ray Train places the processes that share a training, and starts them again if one dies.

Data and run folders must be reachable under the same paths from all machines (a shared file system), and bintally be
installed there. Ray's own checkpoints are not used: a training goes on from ours, on Ray as anywhere.
"""

import json
import logging
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from bintally.config import Config
from bintally.errors import BintallyError, MissingExtraError, TrainingError, UsageError
from bintally.progress import Progress
from bintally.training.launch import GO_ON, Processes, Told, as_error, as_text, shown_here

_PATIENCE_S: Final = 10.0
_PASSED_ON: Final = ("BINTALLY_WEIGHTS", "BINTALLY_CACHE", "HF_HOME", "PYTHONPATH")  # environment that workers need


def train_on_ray(
    work: Callable[[dict[str, Any], Progress], None], config: Config, processes: Processes, progress: Progress
) -> None:
    """Runs `work(config, progress)` in so many processes of the cluster, and waits until all are done.

    Raises:
        MissingExtraError: Ray is not installed.
        BintallyError: what a process raised.
        TrainingError: one died more often than `restarts` allows, or the cluster has no room.
    """
    with connected(processes.on):
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
        from ray.train.torch import TorchTrainer
        from ray.util.queue import Queue

        told = Queue(actor_options={"num_cpus": 0})
        gpus = ray.cluster_resources().get("GPU", 0) >= processes.total  # type: ignore[no-untyped-call]
        with tempfile.TemporaryDirectory(prefix="bintally-ray-") as storage, _listening(told, progress):
            trainer = TorchTrainer(
                _at_work,
                train_loop_config={
                    "work": work,
                    "config": config.model_dump_json(),
                    "told": told,
                    "cwd": str(Path.cwd()),
                },
                scaling_config=ScalingConfig(num_workers=processes.total, use_gpu=gpus),
                run_config=RunConfig(
                    storage_path=storage, failure_config=FailureConfig(max_failures=processes.restarts)
                ),
            )
            try:
                trainer.fit()
            except TrainingFailedError as error:
                raise _in_our_words(error) from error


def _at_work(settings: dict[str, Any]) -> None:
    """One of the processes."""
    os.environ["GROUP_RANK"] = os.environ["NODE_RANK"]  # torchrun's name for it
    if Path(settings["cwd"]).is_dir():
        os.chdir(settings["cwd"])
    try:
        settings["work"](json.loads(settings["config"]), Told(settings["told"].put))
    except BintallyError as error:
        raise RuntimeError(as_text(error)) from error


def _in_our_words(error: Exception) -> BintallyError:
    for failure in getattr(error, "worker_failures", {}).values():
        with suppress(ValueError):  # not an error of ours
            return as_error(str(failure))
    return TrainingError(f"A process on Ray died: {error}", hint=GO_ON)


@contextmanager
def connected(on: str) -> Iterator[None]:
    """A connection to the cluster: "ray" is the one of $RAY_ADDRESS, or a new one on this machine; else ray://host:port.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: there is no cluster to be reached.
    """
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "This needs Ray, which is not installed.", hint="Install it with `pip install 'bintally[ray]'`."
        ) from error
    if ray.is_initialized():
        yield
        return
    if on != "ray":
        _knock(on)
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    ray.init(
        address=None if on == "ray" else on,
        runtime_env={"env_vars": environment},
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Ray itself would try for half a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE_S).close()
    except OSError as error:
        raise UsageError(
            f"There is no Ray cluster at {address}: {error}.",
            hint="Start one with `ray start --head --ray-client-server-port=10001`.",
        ) from error


@contextmanager
def _listening(told: Any, progress: Progress) -> Iterator[None]:
    """What is told on the queue is shown, while within."""

    def listen() -> None:
        with shown_here(progress) as show:
            while (event := told.get()) is not None:
                show(event)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    finally:
        told.put(None)
        listener.join(timeout=10)
