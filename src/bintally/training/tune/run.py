"""The `tune` verb: a recipe with a search space + split data -> trials, a leaderboard, and the best one's recipe.

```
OUT/tune.json            what is tuned, on which photos; another tune is not mixed in
OUT/study.jsonl          Optuna's journal of all trials
OUT/trials/NNN/          each trial's run folder
OUT/leaderboard.json     all trials, best first; leaderboard.csv the same
OUT/tune.html            leaderboard, history, importance, parallel coordinates, front
OUT/best.toml            a complete recipe: `bintally train` makes the best trial's weights again
OUT/front-NNN.toml       with two aims, the recipes of the front's other trials
```
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from pydantic import Field

from bintally.artifacts import code_fingerprint, storage_errors, write_json
from bintally.config import Config
from bintally.errors import ConfigError, TrainingError, UsageError
from bintally.progress import SILENT, Progress
from bintally.settings import cpu_count
from bintally.training.launch import On
from bintally.training.plan import CODE, Plan, training_state
from bintally.training.recipe import Recipe
from bintally.training.tune.leaderboard import Leaderboard, leaderboard, run_folder, write_leaderboard
from bintally.training.tune.on_ray import RayRunner
from bintally.training.tune.page import write_page
from bintally.training.tune.processes import ProcessRunner
from bintally.training.tune.recipe_file import rooted, write_recipe
from bintally.training.tune.settings import TuneSettings
from bintally.training.tune.space import with_values
from bintally.training.tune.study import JOURNAL, Chosen, Study, importance
from bintally.training.tune.trial import Runner, TrialEnd, TrialSpec

TUNE: Final = "tune.json"
BEST: Final = "best.toml"
TRIALS: Final = "trials"

Seen = Callable[[Leaderboard], None]
"""Called from the trials' threads whenever an epoch or a trial ended, one call at a time."""


class TuneConfig(Config):
    """What `tune` is asked for."""

    recipe: Recipe
    data: Path = Field(description="A data folder with a split.")
    out: Path = Field(description="The folder of all trials.")
    on: On = ""
    fresh: bool = Field(default=False, description="Start again, whatever OUT holds.")


class TuneReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came out of a tune."""

    recipe: str
    out: str
    leaderboard: Leaderboard
    best: int
    """The best trial's number; with two aims, the front's best in the first."""
    best_recipe: str
    page: str
    trials_run: int
    """Trials that ended in this start."""
    seconds: float
    """Of this start."""
    trials_per_hour: float


def tune(
    *,
    recipe: Recipe | Path,
    data: Path,
    out: Path,
    trials: int | None = None,
    parallel: int | None = None,
    objective: str | None = None,
    seed: int | None = None,
    fresh: bool = False,
    runner: Runner | None = None,
    on: str = "",
    progress: Progress = SILENT,
    seen: Seen | None = None,
) -> TuneReport:
    """Trains a recipe with many values of the keys that its `[tune.space]` names, and says which are best on val.

    A tune that was killed goes on: what ended is kept, and half-done trials go on from their checkpoints with the
    values they had. `trials`, `parallel`, `objective` and `seed` take the place of the recipe's; the first two may
    differ from start to start. `on` names a Ray cluster that trains the trials: "ray" (that of $RAY_ADDRESS, or one on
    this machine) or "ray://host:port"; default: processes of this machine. `runner` is another who trains them, and is
    closed only where something goes wrong.

    Raises:
        ConfigError: the recipe is wrong, names nothing to tune or what it does not have, or `out` holds another tune.
        UsageError: another process tunes in `out`, or there is no Ray cluster to be reached.
        MissingExtraError: `on`, and Ray is not installed.
        TrainingError: no photos to learn from, or no trial came to its end.
    """
    resolved = recipe if isinstance(recipe, Recipe) else Recipe.read(recipe)
    asked = {"trials": trials, "parallel": parallel, "objective": objective, "seed": seed}
    given = {name: value for name, value in asked.items() if value is not None}
    settings = TuneSettings.of({**resolved.tune.model_dump(), **given}, where="[tune]")
    whole = rooted(resolved).model_copy(update={"tune": settings})
    config = TuneConfig.of({"recipe": whole, "data": data, "out": out, "on": on, "fresh": fresh})
    return _tune(config, runner, progress, seen)


def _tune(config: TuneConfig, runner: Runner | None, progress: Progress, seen: Seen | None) -> TuneReport:
    started = time.monotonic()
    recipe, out = config.recipe, config.out
    plan = Plan.of(recipe, config.data)
    with _held(out):
        _claim(config, plan)
        study = Study(out, recipe)
        tuning = _Tuning(config, study, progress, seen)
        settings = recipe.tune
        progress.say(
            f"{recipe.name}: {study.total} trials, {settings.parallel} at a time, for {settings.objective}"
            + (f"; {tuning.ended_before} ended earlier" if tuning.ended_before else "")
        )
        if runner is not None:
            tuning.run(runner, settings.parallel)
        else:
            with RayRunner(config.on, parallel=settings.parallel) if config.on else ProcessRunner() as own:
                tuning.run(own, settings.parallel)
        board = tuning.board(with_importance=True)
        write_leaderboard(board, out)
        page = write_page(board, recipe, out)
        _write_best(board, recipe, out)
    seconds = time.monotonic() - started
    return TuneReport(
        recipe=recipe.name,
        out=str(out),
        leaderboard=board,
        best=board.front[0].number,
        best_recipe=str(out / BEST),
        page=str(page),
        trials_run=tuning.ended,
        seconds=seconds,
        trials_per_hour=3600 * tuning.ended / seconds,
    )


class _Tuning:
    """Trials under way: as many threads as trials at a time, each waiting for one."""

    def __init__(self, config: TuneConfig, study: Study, progress: Progress, seen: Seen | None) -> None:
        self._config, self._study, self._progress, self._seen = config, study, progress, seen
        self.ended_before = sum(trial.state.is_finished() for trial in study.trials())
        self.ended = 0

    def run(self, runner: Runner, parallel: int) -> None:
        """Runs all trials; what goes wrong here, or Ctrl-C, stops those under way."""
        with ThreadPoolExecutor(parallel) as pool:
            try:
                work = {pool.submit(self._work, runner) for _ in range(parallel)}
                while work:  # polars has Ctrl-C take up a wait again: only between short ones does it come through
                    done, work = wait(work, timeout=0.5, return_when=FIRST_EXCEPTION)
                    for part in done:
                        part.result()
            except BaseException:
                runner.close()
                raise

    def board(self, *, with_importance: bool = False) -> Leaderboard:
        """How all trials stand."""
        objective, trials = self._config.recipe.tune.objective, self._study.trials()
        return leaderboard(trials, objective, importance(trials, objective) if with_importance else {})

    def _work(self, runner: Runner) -> None:
        while (chosen := self._study.next()) is not None:
            end = runner.run(self._spec(chosen), partial(self._epoch, chosen.number))
            self._study.tell(end)
            if end.status == "stopped":
                return
            self.ended += 1
            self._progress.say(_line(chosen, end))
            self._show()

    def _epoch(self, number: int, epoch: int, figures: dict[str, float]) -> bool:
        goes_on = self._study.goes_on(number, epoch, figures)
        self._show()
        return goes_on

    def _show(self) -> None:
        if self._seen is not None:
            self._seen(self.board())

    def _spec(self, chosen: Chosen) -> TrialSpec:
        settings = self._config.recipe.tune
        return TrialSpec(
            number=chosen.number,
            recipe=with_values(self._config.recipe, chosen.values).model_dump(mode="json"),
            data=str(self._config.data.resolve()),
            out=str((self._config.out / run_folder(chosen.number)).resolve()),
            threads=max(1, cpu_count() // settings.parallel),
            latency=settings.objective == "accuracy_latency",
        )


def _line(chosen: Chosen, end: TrialEnd) -> str:
    values = ", ".join(f"{key.rpartition('.')[2]} {show(value)}" for key, value in chosen.values.items())
    figures = ", ".join(f"{name} {end.best[name]:.4g}" for name in ("log_loss", "accuracy") if name in end.best)
    told = figures or end.error.partition("\n")[0]
    return (
        f"  trial {chosen.number}: {end.status} after {len(end.history)} epochs, {told} ({values}; {end.seconds:.0f} s)"
    )


def show(value: Any) -> str:
    """A tried value for people: numbers to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """One process tunes in `out`."""
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        file = (out / ".lock").open("wb")
    with file:
        if sys.platform != "win32":  # no flock there
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"Another process tunes in {out}.", hint="Wait for it.") from None
        yield


def _claim(config: TuneConfig, plan: Plan) -> None:
    """Makes `out` this tune's folder, or sees that it already is: trials of other settings can't be compared."""
    held = config.out / TUNE
    if config.fresh:
        held.unlink(missing_ok=True)
        (config.out / JOURNAL).unlink(missing_ok=True)
        shutil.rmtree(config.out / TRIALS, ignore_errors=True)
    wanted = json.loads(json.dumps(_identity(config.recipe, plan), default=str))
    if not held.is_file():
        write_json(held, wanted)
        return
    try:
        found = json.loads(held.read_text())
    except ValueError:
        found = {}
    differing = [name for name in wanted if found.get(name) != wanted[name]]
    if differing:
        raise ConfigError(
            f"{config.out} holds a tune with other {', '.join(differing)}.",
            hint="Choose another --out, or start again with --fresh.",
        )


def _identity(recipe: Recipe, plan: Plan) -> dict[str, Any]:
    """What two starts must have in common, by the words of an error."""
    settings = recipe.tune.model_dump(mode="json", exclude={"trials", "parallel"})
    return {
        **{f"tune.{name}": value for name, value in settings.items()},
        "recipe": training_state(recipe),
        "photos": plan.dataset,
        "code": code_fingerprint(CODE),
    }


def _write_best(board: Leaderboard, recipe: Recipe, out: Path) -> None:
    """The recipes of the best trial, and of all on the front."""
    if not board.front:
        errors = [row.error for row in board.rows if row.error]
        raise TrainingError(
            f"None of {len(board.rows)} trials was trained to its end" + (f": {errors[0]}" if errors else "."),
            hint=f"{out / 'leaderboard.csv'} has them all.",
        )
    for place, row in enumerate(board.front):
        figures = ", ".join(f"{name} {value:.4f}" for name, value in row.objective.items())
        write_recipe(
            with_values(recipe, row.parameters).model_copy(update={"name": f"{recipe.name}-{row.number:03d}"}),
            out / BEST if place == 0 else out / f"front-{row.number:03d}.toml",
            comment=f"Trial {row.number} of `bintally tune` on the recipe {recipe.name}: {figures} on val.",
        )
