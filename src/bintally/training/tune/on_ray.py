"""Trials on a Ray cluster: Ray Tune places them, and starts them again where a worker or a node dies.

Data and run folders must be reachable under the same paths from all machines (a shared file system), and bintally be
installed there. What is tried next and which trial ends early is decided here, as for trials of this machine, so a tune
that was begun on one can be finished on the other.
"""

import itertools
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from bintally.errors import TrainingError
from bintally.training.launch import GO_ON
from bintally.training.on_ray import connected
from bintally.training.tune.messages import Epoch
from bintally.training.tune.trial import EpochSeen, TrialEnd, TrialSpec

CLOSING_S: Final = 20.0
"""Trials that have not ended so long after they were told to are killed."""


class RayRunner:
    """Trains each trial in a process somewhere in the cluster, which a later trial takes over once it is idle.

    A trial takes `TrialSpec.threads` CPUs, or with `parallel` its part of the cluster, never more than the largest node
    has, and a GPU where there are any. One whose process dies goes on elsewhere from its last checkpoint, twice.
    """

    def __init__(self, on: str, *, parallel: int | None = None) -> None:
        """Connects to the cluster.

        Raises:
            MissingExtraError: Ray is not installed.
            UsageError: there is no cluster to be reached.
        """
        self._changed = threading.Condition()
        self._under_way = 0
        self._closed = False
        self._tickets = itertools.count()
        self._connection = ExitStack()
        with ExitStack() as undo:
            undo.enter_context(connected(on))
            import ray

            from bintally.training.tune.ray_experiment import begin

            nodes = ray.nodes()  # type: ignore[no-untyped-call]
            cpus = [int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]]
            self._most_threads = max([1, *cpus])
            self._threads = None if parallel is None else threads_each(cpus, parallel)
            self._experiment = begin()
            self._connection = undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, spec: TrialSpec, epoch_seen: EpochSeen, *, deadline: float | None = None) -> TrialEnd:
        """See `Runner.run`.

        Raises:
            TrainingError: the cluster is gone. It is no trial's fault, so none of them is called failed for it.
        """
        started = time.monotonic()
        stopped = TrialEnd(number=spec.number, status="stopped", best={}, history=[], seconds=0.0)
        threads = min(self._threads or spec.threads, self._most_threads)
        if not self._enter():
            return stopped
        try:
            end = self._run(msgspec.structs.replace(spec, threads=threads), epoch_seen, deadline)
        except _GoneError as error:
            if not self._closed:
                raise TrainingError(f"The Ray cluster, or Tune on it, is gone: {error}", hint=GO_ON) from error
            end = stopped
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()
        return msgspec.structs.replace(end, seconds=end.seconds or time.monotonic() - started)

    def close(self) -> None:
        """See `Runner.close`."""
        with self._changed:
            was_closed, self._closed = self._closed, True
        if was_closed:
            return
        import ray

        with self._connection:
            with suppress(_GoneError):  # as it is meant to be
                self._asked("close", timeout=CLOSING_S)
            with suppress(ConnectionError):
                ray.kill(self._experiment)  # and with it whatever it started
            with self._changed:
                self._changed.wait_for(lambda: not self._under_way, timeout=CLOSING_S)

    def _enter(self) -> bool:
        with self._changed:
            self._under_way += not self._closed
            return not self._closed

    def _run(self, spec: TrialSpec, epoch_seen: EpochSeen, deadline: float | None) -> TrialEnd:
        ticket = next(self._tickets)
        self._asked("submit", ticket, spec, str(Path.cwd()), deadline)
        word: Epoch | TrialEnd = self._asked("word", ticket)
        while isinstance(word, Epoch):
            try:
                goes_on = epoch_seen(int(word.row["epoch"]), word.row)
            except BaseException:
                self._asked("leave", ticket)
                raise
            word = self._asked("word", ticket, goes_on)
        return word

    def _asked(self, method: str, *values: Any, timeout: float | None = None) -> Any:
        """What the experiment answers."""
        import ray
        from ray.exceptions import RayError

        try:
            return ray.get(getattr(self._experiment, method).remote(*values), timeout=timeout)
        except (RayError, ConnectionError) as error:
            raise _GoneError(str(error)) from error


class _GoneError(Exception):
    """The experiment does not answer."""


def threads_each(cpus: Sequence[int], trials: int) -> int:
    """The most CPUs that each of so many trials can have at the same time, a trial on one node; at least 1.

    `cpus`: those of each node.
    """
    for threads in range(max([1, *cpus]), 1, -1):
        if sum(count // threads for count in cpus) >= trials:
            return threads
    return 1
