"""A trial: one training among several that are compared. What is asked of it, what comes back, and who runs it.

A `Runner` knows nothing of how trials are chosen or judged: it trains a recipe in a folder, says how each epoch went,
and stops when told. `processes.ProcessRunner` does so on this machine. A trial's folder is a run like any other, so one
that was killed goes on from its last checkpoint.
"""

from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec

FORWARD_MS = "forward_ms"
"""The figure that `TrialSpec.latency` asks for."""


class TrialSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One trial to run."""

    number: int
    recipe: dict[str, Any]
    """A complete recipe as plain values (`Recipe.model_dump(mode="json")`), its paths absolute."""
    data: str
    """A data folder with a split."""
    out: str
    """The run folder; what is half done there goes on."""
    threads: int
    seed: int | None = None
    """Takes the place of the recipe's."""
    latency: bool = False
    """Also measure `forward_ms`: milliseconds of one forward pass in torch, one photo, one thread, once trained."""


class TrialEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a trial ended.

    `complete`: trained to its end; `pruned`: `EpochSeen` said no; `stopped`: the deadline passed or the runner was
    closed, and the same spec goes on from there; `failed`: `error` says why.
    """

    number: int
    status: Literal["complete", "pruned", "failed", "stopped"]
    best: dict[str, float]
    """The figures of the kept epoch on val (epoch, log_loss, accuracy, rmse ...); empty where no epoch was judged."""
    history: list[dict[str, float]]
    """A row an epoch."""
    seconds: float
    """Wall-clock time of this start; what an earlier, killed one took is not in it."""
    error: str = ""
    died: bool = False
    """Its process ended without a word, by a signal or a crash: no setting of the trial need be the cause."""


EpochSeen = Callable[[int, dict[str, float]], bool]
"""(epoch from 1, its figures on val) -> go on? A run that goes on after a kill tells its earlier epochs once more."""


class Runner(Protocol):
    """Whoever trains trials: processes on this machine, or other machines."""

    def run(self, spec: TrialSpec, epoch_seen: EpochSeen, *, deadline: float | None = None) -> TrialEnd:
        """Trains `spec` and returns when it is over; called from one thread for each trial under way.

        `epoch_seen` is called from this thread. `deadline` is a Unix time at which the trial is stopped, mid-epoch if
        need be. Errors of the trial come back as `failed`, never as exceptions.
        """

    def close(self) -> None:
        """Stops all trials under way (they end as `stopped`); may be called from any thread, and twice."""
