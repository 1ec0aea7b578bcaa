"""What a search remembers: OUT/search.json, rewritten after each event, so that a killed search goes on."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from bintally.artifacts import write_bytes
from bintally.bundle import Figure
from bintally.errors import CheckpointError

STATE: Final = "search.json"
FORMAT: Final = 1
WAITING: Final = "waiting"
"""Among speeds: how many times longer work takes than its processor time, where others use the machine, too."""
_TICK_S: Final = 2.0

Status = Literal["planned", "complete", "stopped", "failed"]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How good a network's answers are on val, with its temperature fitted there as a bundle's is; one view a photo."""

    photos: int
    accuracy: Figure
    rmse: Figure
    log_loss: Figure
    ece: float
    ece_if_calibrated: float
    """A perfectly calibrated model of the same confidences stays below it in 95 of 100 draws."""


class TrialRow(msgspec.Struct, frozen=True, kw_only=True):
    """One training of the search."""

    number: int
    rung: int
    """From 0; those after the preset's last are the best candidate's, with the time left over."""
    backbone: str
    way: str
    px: int
    epochs: int
    passes: float
    """Over the training photos, as planned; 0 where features are frozen: each photo is looked at once."""
    start: int | None
    """The trial whose weights it goes on from."""
    run: str
    """Its folder, in OUT."""
    recipe: dict[str, Any]
    planned_s: float
    status: Status = "planned"
    seconds: float = 0.0
    forward_ms: float | None = None
    """One photo, one view, one thread, in torch."""
    size_mb: float | None = None
    """Of its weights at two bytes each, as a bundle keeps them."""
    figures: Figures | None = None
    error: str = ""

    @property
    def log_loss(self) -> float:
        """What networks are compared by; infinite where it was never judged."""
        return float("inf") if self.figures is None else self.figures.log_loss.value


class LeftOut(msgspec.Struct, frozen=True):
    """A network of the preset that could not be tried."""

    backbone: str
    why: str


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """Who used which part of the time; seconds of the search's own clock, which stands while it does not run."""

    what: str
    trial: int | None
    start_s: float
    end_s: float


class SearchState(msgspec.Struct, kw_only=True):
    """All that is known so far."""

    format: int = FORMAT
    identity: str
    used_s: float = 0.0
    rungs_done: int = 0
    rungs: int = 0
    """Rungs of the preset; the rest counts on from there."""
    trials: list[TrialRow] = []
    left_out: list[LeftOut] = []
    probed: bool = False
    speeds: dict[str, float] = {}
    """Photos a second by `BACKBONE look` and `BACKBONE train`, scaled to 128 px; its `BACKBONE layers`; `WAITING`."""
    overhead_s: float
    """What a trial takes beside its photos: process, network, caches; measured as trials end."""
    spent: list[Spent] = []
    ended: bool = False
    """Everything is written."""

    def replace(self, row: TrialRow) -> None:
        """`row` takes the place of the trial of its number, or is a new one."""
        self.trials = sorted([*(t for t in self.trials if t.number != row.number), row], key=lambda t: t.number)

    def of_rung(self, rung: int) -> list[TrialRow]:
        """Its trials, in order of their numbers."""
        return [row for row in self.trials if row.rung == rung]

    def judged(self) -> list[TrialRow]:
        """Trials that can be answered with, the least log loss first."""
        return sorted((row for row in self.trials if row.figures is not None), key=lambda row: row.log_loss)


class Clock:
    """Seconds a search has used, over all its starts; and the file that keeps its state."""

    def __init__(self, out: Path, state: SearchState) -> None:
        self._path, self.state = out / STATE, state
        self._before, self._started = state.used_s, time.monotonic()
        self._lock = threading.RLock()

    def used(self) -> float:
        """Seconds so far."""
        return self._before + time.monotonic() - self._started

    def save(self) -> None:
        """Writes the state."""
        with self._lock:
            self.state.used_s = self.used()
            write_bytes(self._path, msgspec.json.format(msgspec.json.encode(self.state), indent=1) + b"\n")

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Saves every two seconds, so that a kill can't stretch the budget."""
        over = threading.Event()

        def tick() -> None:
            while not over.wait(_TICK_S):
                self.save()

        ticker = threading.Thread(target=tick, daemon=True)
        ticker.start()
        try:
            yield
        finally:
            over.set()
            ticker.join()

    @contextmanager
    def spending(self, what: str, trial: int | None = None) -> Iterator[None]:
        """Writes down what the time of this block went to."""
        start = self.used()
        try:
            yield
        finally:
            with self._lock:
                row = Spent(what=what, trial=trial, start_s=start, end_s=self.used())
                self.state.spent = [*self.state.spent, row]
            self.save()


def read_state(out: Path, identity: str) -> SearchState | None:
    """What an earlier start of this search left in `out`; None where there was none.

    Raises:
        CheckpointError: it is another search's, or not whole.
    """
    path = out / STATE
    if not path.is_file():
        return None
    try:
        state = msgspec.json.decode(path.read_bytes(), type=SearchState)
    except (OSError, msgspec.DecodeError) as error:
        raise CheckpointError(f"{path} can't be read: {error}.", hint="Start again with --fresh.") from error
    if state.identity != identity or state.format != FORMAT:
        raise CheckpointError(
            f"{out} holds a search with other settings, or of other photos.",
            hint="Choose another --out, or start again with --fresh.",
        )
    return state
