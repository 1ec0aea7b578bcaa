"""What came out of each trial, best first: as records, as JSON and as CSV."""

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from optuna.trial import FrozenTrial, TrialState

from bintally.artifacts import write_bytes, write_text
from bintally.training.tune.settings import Objective, Value
from bintally.training.tune.study import AIMS, END

LEADERBOARD: Final = "leaderboard"

Status = Literal["complete", "pruned", "failed", "running"]
_STATUS: Final[dict[TrialState, Status]] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "running",
}
_ORDER: Final = ("complete", "pruned", "running", "failed")


class TrialRow(msgspec.Struct, frozen=True, kw_only=True):
    """One trial, as a hyperparameter tuning job of SageMaker lists its own, and its figures."""

    number: int
    status: Status
    parameters: dict[str, Value]
    objective: dict[str, float]
    """What was judged, of the kept epoch: of a pruned trial, as far as it came; empty where no epoch was judged."""
    on_front: bool
    """No trial is better in one aim and as good in the others; with one aim, the best."""
    start: str
    """ISO 8601 with the offset, as `end`, which is empty while the trial runs."""
    end: str
    seconds: float | None
    """Of its last start alone, where a kill came between."""
    epochs: int
    figures: dict[str, float]
    """All figures of the kept epoch."""
    run: str
    """The run folder, relative to the tune's."""
    error: str = ""


class Leaderboard(msgspec.Struct, frozen=True, kw_only=True):
    """All trials, best first: complete ones by the first aim, then those that were pruned, run or failed."""

    objective: Objective
    rows: list[TrialRow]
    importance: dict[str, float] = {}
    """Each parameter's share of what made the best trials best; empty where there are too few."""

    @property
    def aims(self) -> dict[str, str]:
        """What is to be best, and which way: "minimize" or "maximize"."""
        return dict(AIMS[self.objective])

    @property
    def front(self) -> list[TrialRow]:
        """The best trial, or with two aims those that none beats in both; the best of the first aim comes first."""
        return [row for row in self.rows if row.on_front]


def run_folder(number: int) -> str:
    """Where a trial's run is, in the tune's folder."""
    return f"trials/{number:03d}"


def leaderboard(trials: Sequence[FrozenTrial], objective: Objective, importance: dict[str, float]) -> Leaderboard:
    """The leaderboard of a study's trials."""
    signs = [1.0 if way == "minimize" else -1.0 for way in AIMS[objective].values()]
    rows = [_row(trial, objective) for trial in trials if trial.state != TrialState.WAITING]
    costs = {
        row.number: tuple(sign * value for sign, value in zip(signs, row.objective.values(), strict=True))
        for row in rows
        if row.objective
    }
    complete = {row.number: costs[row.number] for row in rows if row.status == "complete"}
    front = (
        pareto(complete) if len(signs) > 1 else set(sorted(complete, key=lambda number: (complete[number], number))[:1])
    )
    marked = [msgspec.structs.replace(row, on_front=row.number in front) for row in rows]
    worst = (float("inf"),) * len(signs)
    marked.sort(key=lambda row: (_ORDER.index(row.status), costs.get(row.number, worst), row.number))
    return Leaderboard(objective=objective, rows=marked, importance=importance)


def pareto(costs: dict[int, tuple[float, ...]]) -> set[int]:
    """The keys that no other beats: none is at most as costly in everything, and less so in something."""
    return {
        mine
        for mine, cost in costs.items()
        if not any(other != cost and all(a <= b for a, b in zip(other, cost, strict=True)) for other in costs.values())
    }


def write_leaderboard(board: Leaderboard, folder: Path) -> None:
    """`leaderboard.json` and `leaderboard.csv` (a row a trial, a column a parameter)."""
    write_bytes(folder / f"{LEADERBOARD}.json", msgspec.json.format(msgspec.json.encode(board), indent=2))
    write_text(folder / f"{LEADERBOARD}.csv", as_csv(board))


def as_csv(board: Leaderboard) -> str:
    """The leaderboard as CSV."""
    parameters = list(dict.fromkeys(key for row in board.rows for key in row.parameters))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "status", *parameters, *board.aims, "start", "end", "seconds", "epochs", "run", "error"])
    for row in board.rows:
        values = [row.parameters.get(key, "") for key in parameters]
        aims = [row.objective.get(name, "") for name in board.aims]
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        cells: list[Any] = [row.number, row.status, *values, *aims, row.start, row.end, seconds, row.epochs, row.run]
        writer.writerow([*cells, row.error.partition("\n")[0]])
    return text.getvalue()


def _row(trial: FrozenTrial, objective: Objective) -> TrialRow:
    end = trial.user_attrs.get(END, {})
    figures = dict(end.get("best", {}))
    judged = all(name in figures for name in AIMS[objective])
    return TrialRow(
        number=trial.number,
        status=_STATUS[trial.state],
        parameters=dict(trial.params),
        objective={name: figures[name] for name in AIMS[objective]} if judged else {},
        on_front=False,
        start=_iso(trial.datetime_start),
        end=_iso(trial.datetime_complete),
        seconds=end.get("seconds"),
        epochs=len(end["history"]) if end else len(trial.intermediate_values),
        figures=figures,
        run=run_folder(trial.number),
        error=end.get("error", ""),
    )


def _iso(at: datetime | None) -> str:
    return "" if at is None else at.astimezone().isoformat(timespec="seconds")
