"""What `test_crash` kills: a process that tells MLflow of a run and of the registry.

    python tests/registry/tracking/crash_child.py

Its tasks come as `tests.crashing` says. `die`: the fork kills itself before its so-manieth step, where a step is the
moment before and after each call of MLflow's client that tells it something.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from mlflow.tracking import MlflowClient

from bintally.registry.place import Registry
from bintally.registry.tracking import log, mirror
from tests.crashing import die, fork_for_each

TELLING = (
    "create_experiment", "create_run", "log_batch", "log_inputs", "log_artifacts", "set_tag", "set_terminated",
    "create_registered_model", "create_model_version", "set_model_version_tag", "set_registered_model_alias",
)  # fmt: skip


class Points:
    """Counts the steps, and dies before one of them."""

    def __init__(self, doomed: int | None) -> None:
        self.doomed, self.passed = doomed, 0

    def one(self) -> None:
        if self.passed == self.doomed:
            die()
        self.passed += 1

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            self.one()
            answer = call(*arguments, **named)
            self.one()
            return answer

        return counted


def work(task: dict[str, Any]) -> None:
    """Tells the run, then the registry."""
    points = Points(task["die"])
    for name in TELLING:
        setattr(MlflowClient, name, points.around(getattr(MlflowClient, name)))
    with Path(task["said"]).open("a") as told, Registry.open(task["place"]) as registry:
        log(registry, Path(task["run"]), bundle=Path(task["bundle"]), report=Path(task["report"]), by="rita")
        mirror(registry)
        print("done", points.passed, file=told, flush=True)


if __name__ == "__main__":
    fork_for_each(work)
