"""One Ray Tune experiment, that trials are handed to while it runs, in an actor of the cluster.

It is an actor because Tune, over a Ray Client connection, asks its searcher on the cluster, where nobody of the
caller's process is. Tune decides where a trial runs, and starts it again where its worker dies. It prunes none: its
STOP leaves no word of how far a trial came, and can't tell an epoch that is the last one anyway. So each trial asks
here whether to go on, as one of this machine asks its parent.

Imported only where Ray is installed.
"""

import asyncio
import os
import tempfile
import threading
import time
from collections import deque
from typing import Any, Final

import msgspec
import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from bintally.training.tune.messages import Epoch
from bintally.training.tune.ray_trial import Task, train
from bintally.training.tune.trial import TrialEnd, TrialSpec

MAX_FAILURES: Final = 2
GRACE_S: Final = 10.0
"""A trial that was not heard of so long after its deadline is not waited for: it never began."""

_QUIET: Final = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard files
    "TUNE_MAX_PENDING_TRIALS_PG": "256",  # Tune would start one at a time; there are as many as are waited for
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}


class _Ticket:
    """A trial that someone waits for. Lives in the actor's event loop."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.began = time.monotonic()
        self.words: asyncio.Queue[tuple[Epoch, asyncio.Future[bool]] | TrialEnd | Exception] = asyncio.Queue()
        self.answer: asyncio.Future[bool] | None = None
        self.stop_wanted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.rows: dict[int, dict[str, float]] = {}

    def over(self, word: TrialEnd | Exception, *, stop: bool) -> None:
        """The last word; `stop`: the trial may not know it yet."""
        if not self.stop_wanted.done():
            self.stop_wanted.set_result(stop)
        self.words.put_nowait(word)

    def end(self, error: str = "") -> TrialEnd:
        """The end of a trial that did not come to tell it: stopped, or failed with an error."""
        return TrialEnd(
            number=self.task.spec.number,
            status="failed" if error else "stopped",
            best={},
            history=list(self.rows.values()),
            seconds=time.monotonic() - self.began,
            error=error,
        )


class Experiment:
    """The actor: between those who wait for trials, Tune in a thread, and the trials."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[tuple[int, int]] = deque()  # ticket, threads
        self._under_way: set[int] = set()
        self._closed = False
        self._tickets: dict[int, _Ticket] = {}
        self._over: Exception | None = None

    async def begin(self, itself: Any) -> None:
        """Starts the experiment; `itself` is how trials reach this actor."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._tune, args=(itself,), daemon=True)
        self._thread.start()

    async def submit(self, ticket: int, spec: TrialSpec, cwd: str, deadline: float | None) -> None:
        """Queues a trial; `deadline` is a Unix time."""
        if self._over is not None:
            raise self._over
        self._tickets[ticket] = _Ticket(Task(spec, cwd, deadline))
        with self._changed:
            self._waiting.append((ticket, spec.threads))
            self._changed.notify_all()

    async def word(self, ticket: int, goes_on: bool | None = None) -> Epoch | TrialEnd:
        """A trial's next word, its end the last; `goes_on` answers the one before."""
        held = self._tickets[ticket]
        if held.answer is not None and not held.answer.done():
            held.answer.set_result(bool(goes_on))
        deadline = held.task.deadline
        limit_s = None if deadline is None else max(deadline + GRACE_S - time.time(), 0)
        try:
            word = await asyncio.wait_for(held.words.get(), limit_s)
        except TimeoutError:
            word = held.end()
            held.over(word, stop=True)
        if isinstance(word, tuple):
            epoch, held.answer = word
            return epoch
        del self._tickets[ticket]
        if isinstance(word, Exception):
            raise word
        return word

    async def leave(self, ticket: int) -> None:
        """Nobody waits for this trial any more: it is stopped."""
        held = self._tickets.pop(ticket)
        held.over(held.end(), stop=True)

    async def close(self) -> None:
        """Stops all trials and ends the experiment; returns when it is over."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        for held in self._tickets.values():
            if not held.stop_wanted.done():
                held.stop_wanted.set_result(True)
        await asyncio.to_thread(self._thread.join)

    # What trials call.

    async def task(self, ticket: int) -> Task | None:
        """What a trial has to do; None where nobody waits for it any more."""
        held = self._tickets.get(ticket)
        return None if held is None or held.stop_wanted.done() else held.task

    async def goes_on(self, ticket: int, number: int, row: dict[str, float]) -> bool:
        """Whether a trial goes on after this epoch."""
        held = self._tickets.get(ticket)
        if held is None:
            return False
        held.rows[number] = row
        answer = asyncio.get_running_loop().create_future()
        held.words.put_nowait((Epoch(row, {}), answer))
        return bool(await answer)

    async def stop_wanted(self, ticket: int) -> bool:
        """Waits until a trial has to stop at once (True), or has ended."""
        held = self._tickets.get(ticket)
        return held is None or await asyncio.shield(held.stop_wanted)

    # What Tune calls, in its thread.

    def hand_out(self) -> tuple[int, int] | None:
        """Ticket and threads of a trial to start, None as long as there is none.

        Waits for one where no trial is under way.

        Raises:
            StopIteration: none will come.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._under_way or self._closed)
            if self._closed:
                raise StopIteration
            if not self._waiting:
                return None
            ticket, threads = self._waiting.popleft()
            self._under_way.add(ticket)
            return ticket, threads

    def ended(self, ticket: int, end: TrialEnd | str | None) -> None:
        """A trial is over: its own word, why there is none, or None where it never began."""
        with self._changed:
            self._under_way.discard(ticket)
        self._loop.call_soon_threadsafe(self._tell, ticket, end)

    def _tell(self, ticket: int, end: TrialEnd | str | None) -> None:
        held = self._tickets.get(ticket)
        if held is not None:
            held.over(end if isinstance(end, TrialEnd) else held.end(end or ""), stop=False)

    def _tune(self, itself: Any) -> None:
        os.environ.update(_QUIET)
        gpu = {"GPU": 1.0} if ray.cluster_resources().get("GPU", 0) else {}  # type: ignore[no-untyped-call]
        over: Exception = RuntimeError("the experiment has ended")
        try:
            with tempfile.TemporaryDirectory(prefix="bintally-ray-") as storage:
                tune.run(
                    tune.with_resources(
                        tune.with_parameters(train, experiment=itself),
                        lambda config: tune.PlacementGroupFactory([{"CPU": config["threads"], **gpu}]),
                    ),
                    search_alg=_HandedOut(self),
                    callbacks=[_Failures(self)],
                    num_samples=-1,
                    max_failures=MAX_FAILURES,
                    reuse_actors=True,
                    raise_on_failed_trial=False,
                    storage_path=storage,
                    verbose=0,
                )
        except Exception as error:  # whoever waits has to hear of it
            over = error
        self._loop.call_soon_threadsafe(self._all_over, over)

    def _all_over(self, error: Exception) -> None:
        self._over = error
        for held in self._tickets.values():
            held.over(held.end() if self._closed else error, stop=True)


class _HandedOut(Searcher):
    """What to try is what was handed to the experiment."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__()
        self._experiment = experiment
        self._tickets: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        """The next trial's ticket, None as long as there is none."""
        try:
            handed = self._experiment.hand_out()
        except StopIteration:
            return Searcher.FINISHED
        if handed is None:
            return None
        self._tickets[trial_id], threads = handed
        return {"ticket": self._tickets[trial_id], "threads": threads}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Hands on the trial's end; `_Failures` tells why there is none."""
        if not error:
            end = (result or {}).get("end")
            self._experiment.ended(
                self._tickets[trial_id], None if end is None else msgspec.json.decode(end, type=TrialEnd)
            )

    def save(self, checkpoint_path: str) -> None:
        """Nothing: what Tune could go on from is in the study of whoever chooses."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as above."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing, as above."""


class _Failures(tune.Callback):
    """Tells of trials that died too often."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Hands on why."""
        cause = trial.get_pickled_error()
        said = str(getattr(cause, "cause", None) or cause or "its process died").strip().splitlines()
        self._experiment.ended(trial.config["ticket"], f"Died {MAX_FAILURES + 1} times on Ray: {said[0]}")


def begin() -> Any:
    """An experiment that runs, on the head node, without which there is no cluster anyway."""
    actor: Any = ray.remote(num_cpus=0, resources={"node:__internal_head__": 0.001})(Experiment).remote()
    ray.get(actor.begin.remote(actor))
    return actor
