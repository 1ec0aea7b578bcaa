"""Optuna's side of `tune`: which values come next, which trials end early, and what is known after a kill.

Everything is in `OUT/study.jsonl`, Optuna's journal, written by this process alone. A trial is asked for once: one that
a kill left half done is handed out again with the values it had, before any new one.
"""

import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState

from bintally.training.recipe import Recipe
from bintally.training.tune.settings import Objective, TuneSettings, Value
from bintally.training.tune.space import grid, search_space
from bintally.training.tune.trial import FORWARD_MS, TrialEnd

JOURNAL: Final = "study.jsonl"
NAME: Final = "tune"
END: Final = "end"
Way = Literal["minimize", "maximize"]
AIMS: Final[Mapping[Objective, Mapping[str, Way]]] = {
    "log_loss": {"log_loss": "minimize"},
    "accuracy": {"accuracy": "maximize"},
    "rmse": {"rmse": "minimize"},
    "accuracy_latency": {"accuracy": "maximize", FORWARD_MS: "minimize"},
}
"""Figures of the kept epoch that are to be best, and which way."""


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """A trial to run: its number, and the values it tries."""

    number: int
    values: dict[str, Value]


class Study:
    """The trials of one folder. Its methods may be called from any thread."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        """Opens or begins the study; only one process may have it open.

        Raises:
            ConfigError: there is nothing to tune, or what is named does not fit the recipe.
        """
        self._settings = recipe.tune
        self._space = search_space(recipe)
        self._grid = grid(recipe) if recipe.tune.sampler == "grid" else []
        self._lock = threading.Lock()
        self._running: dict[int, Trial] = {}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        journal = folder / JOURNAL
        _cut_torn_line(journal)
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(journal), lock_obj=_Held(str(journal)))),
            study_name=NAME,
            directions=list(AIMS[recipe.tune.objective].values()),
            pruner=_pruner(recipe.tune),
            load_if_exists=True,
        )
        self._half_done = [trial for trial in self.trials() if trial.state == TrialState.RUNNING]

    @property
    def total(self) -> int:
        """How many trials there are to be; a grid ends with its last point."""
        return min(self._settings.trials, len(self._grid) or self._settings.trials)

    def trials(self) -> list[FrozenTrial]:
        """All trials, by number."""
        return self._study.get_trials()

    def next(self) -> Chosen | None:
        """The next trial to run: one that is half done, else a new one; None where all are handed out."""
        with self._lock:
            if self._half_done:
                frozen = self._half_done.pop(0)
                # Optuna gives no other way to go on with a trial of an earlier process.
                self._study.sampler = self._sampler(frozen.number)
                trial = Trial(self._study, frozen._trial_id)
            else:
                number = sum(trial.state != TrialState.WAITING for trial in self.trials())
                if number >= self.total:
                    return None
                self._study.sampler = self._sampler(number)
                if self._grid and not self._study.get_trials(states=(TrialState.WAITING,)):
                    self._study.enqueue_trial(self._grid[number])
                trial = self._study.ask()
            values = {name: _suggested(trial, name, kind) for name, kind in self._space.items()}
            self._running[trial.number] = trial
            return Chosen(number=trial.number, values=values)

    def goes_on(self, number: int, epoch: int, figures: Mapping[str, float]) -> bool:
        """Notes an epoch of a trial; whether another is worth its time. What was noted before stays as it was."""
        aims = AIMS[self._settings.objective]
        if len(aims) > 1:
            return True
        with self._lock:
            trial = self._running[number]
            if epoch not in self.trials()[number].intermediate_values:
                trial.report(figures[next(iter(aims))], epoch)
            return not trial.should_prune()

    def tell(self, end: TrialEnd) -> None:
        """Notes how a trial ended; one that was stopped stays half done."""
        if end.status == "stopped":
            return
        with self._lock:
            trial = self._running.pop(end.number)
            trial.set_user_attr(END, msgspec.to_builtins(end))
            if end.status == "complete":
                self._study.tell(trial, [end.best[name] for name in AIMS[self._settings.objective]])
            else:
                self._study.tell(trial, state=TrialState.PRUNED if end.status == "pruned" else TrialState.FAIL)

    def _sampler(self, number: int) -> BaseSampler:
        """A sampler for one trial, seeded by its number: a study that went on after a kill tries what it would have."""
        seed = int(np.random.SeedSequence([self._settings.seed, number]).generate_state(1)[0])
        if self._settings.sampler == "tpe":
            return TPESampler(n_startup_trials=self._settings.random_trials, seed=seed)
        return RandomSampler(seed=seed)


def importance(trials: list[FrozenTrial], objective: Objective, *, least: int = 5) -> dict[str, float]:
    """Each parameter's share of what made the best trials best, the largest first.

    PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255), of the first aim. Empty with fewer than `least` complete trials,
    or where they are all alike.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    values = [trial.values[0] for trial in complete]
    if len(complete) < least or min(values) == max(values):
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=next(iter(AIMS[objective].values())))
    for trial, value in zip(complete, values, strict=True):
        study.add_trial(optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, value=value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.simplefilter("ignore", UserWarning)  # that few trials say little; the page says so itself
        return optuna.importance.get_param_importances(study)


class _Held(JournalFileOpenLock):
    """No lock: the folder is held by this process, and a lock that a kill leaves behind would cost half a minute."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return


def _cut_torn_line(journal: Path) -> None:
    """Cuts what stands after the last line end: a kill tore it."""
    if journal.is_file():
        content = journal.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with journal.open("r+b") as file:
                file.truncate(whole)


def _pruner(settings: TuneSettings) -> BasePruner:
    if settings.pruner == "median":
        return MedianPruner(n_startup_trials=settings.prune_after_trials, n_warmup_steps=settings.prune_after_epochs)
    if settings.pruner == "asha":
        return SuccessiveHalvingPruner(min_resource=settings.prune_after_epochs, reduction_factor=settings.reduction)
    return NopPruner()


def _suggested(trial: Trial, name: str, kind: BaseDistribution) -> Any:
    if isinstance(kind, CategoricalDistribution):
        return trial.suggest_categorical(name, kind.choices)
    if isinstance(kind, IntDistribution):
        return trial.suggest_int(name, kind.low, kind.high, step=kind.step, log=kind.log)
    assert isinstance(kind, FloatDistribution)  # noqa: S101 - there are no others
    return trial.suggest_float(name, kind.low, kind.high, step=kind.step, log=kind.log)
