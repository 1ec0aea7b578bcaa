"""A trial on its node of a Ray cluster: trained in a process of its own there, as trials of one machine are.

So it can be stopped at once, which a thread can't be, and its Ray worker never imports torch.
Imported only where Ray is installed.
"""

import os
import threading
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import ray

from bintally.training.tune.processes import ProcessRunner
from bintally.training.tune.trial import TrialSpec


class Task(msgspec.Struct, frozen=True):
    """What a trial has to do, and where the paths of its environment are meant from."""

    spec: TrialSpec
    cwd: str
    deadline: float | None


class DiedError(Exception):
    """The process that trained died; a new start goes on from its last checkpoint."""


def train(config: dict[str, Any], experiment: Any) -> dict[str, str] | None:
    """Trains the trial of `config["ticket"]`; its result is its `TrialEnd`, None where nobody waits for it.

    Raises:
        DiedError: so Tune starts it again.
    """
    ticket = config["ticket"]
    task: Task | None = ray.get(experiment.task.remote(ticket))
    if task is None:
        return None
    if Path(task.cwd).is_dir():
        os.chdir(task.cwd)
    runner = _runner()
    threading.Thread(target=_stop_when_wanted, args=(experiment, ticket, runner), daemon=True).start()

    def goes_on(epoch: int, figures: dict[str, float]) -> bool:
        return bool(ray.get(experiment.goes_on.remote(ticket, epoch, figures)))

    end = runner.run(task.spec, goes_on, deadline=task.deadline)
    if end.status == "failed" and end.died:
        raise DiedError(end.error)
    return {"end": msgspec.json.encode(end).decode()}


@cache
def _runner() -> ProcessRunner:
    """This worker's; its process has imported torch once."""
    return ProcessRunner()


def _stop_when_wanted(experiment: Any, ticket: int, runner: ProcessRunner) -> None:
    if ray.get(experiment.stop_wanted.remote(ticket)):
        _runner.cache_clear()
        runner.close()
