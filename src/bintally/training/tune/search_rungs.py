"""How a search climbs: each rung's trials are planned on measured speeds, trained side by side, judged, and ranked."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final

import msgspec

from bintally.errors import BintallyError
from bintally.progress import Progress
from bintally.training.plan import Plan
from bintally.training.recipe import NetworkSettings, Recipe
from bintally.training.tune.search_judge import asked_values, figures_of, finish, size_mb, told
from bintally.training.tune.search_plan import (
    Amounts,
    Planned,
    Speed,
    best_of_rung,
    plan_trial,
    speeds_of,
    trials_that_fit,
)
from bintally.training.tune.search_presets import Preset, Rung, Way
from bintally.training.tune.search_recipes import cache_px, recipe_of
from bintally.training.tune.search_state import Clock, SearchState, Status, TrialRow
from bintally.training.tune.trial import FORWARD_MS, Runner, TrialEnd, TrialSpec

TRIALS: Final = "trials"
_LEAST_REST: Final = 0.08
"""Of the whole time: the best candidate is not trained on for less."""
_LATE: Final = 1.5
"""A rung's trial is stopped after so many times what was planned for it."""
_MOST_OVERHEAD_S: Final = 60.0
_STALE: Final = 2
"""Trainings of the rest that may bring nothing before the search ends early."""


class Climb:
    """The trials of one search, from its first rung to the end of its time."""

    def __init__(
        self,
        *,
        base: Recipe,
        preset: Preset,
        networks: dict[str, NetworkSettings],
        plan: Plan,
        out: Path,
        clock: Clock,
        runner: Runner,
        threads: int,
        parallel: int,
        progress: Progress,
    ) -> None:
        self._base, self._preset, self._networks, self._plan = base, preset, networks, plan
        self._out, self._clock, self._runner, self._progress = out, clock, runner, progress
        self._threads, self._parallel = threads, parallel
        drawn = sum(
            base.balance.keep.get(key, 1.0) * photos
            for key, photos in plan.train.group_by("count_key").len().iter_rows()
        )
        self._amounts = Amounts(train=plan.train.height, drawn=max(round(drawn), 1), val=plan.val.height)

    @property
    def _state(self) -> SearchState:
        return self._clock.state

    def rungs(self, until: Callable[[], float]) -> None:
        """All rungs of the preset; `until` tells when training must be over, by the search's clock, as things stand."""
        shares = [rung.share for rung in self._preset.rungs]
        for number, rung in enumerate(self._preset.rungs):
            if number < self._state.rungs_done:
                continue
            left_s = until() - self._clock.used()
            self._rung(number, rung, left_s * rung.share / (1 - sum(shares[:number])), until)
            self._state.rungs_done = number + 1
            self._clock.save()

    def rest(self, until: Callable[[], float]) -> None:
        """The best candidate goes on as long as there is time, or until that brings nothing more."""
        first, least_s = len(self._preset.rungs), _LEAST_REST * until()
        number = max([first, *(row.rung for row in self._state.trials)])
        while self._planned(number) or until() - self._clock.used() > least_s:
            share = 0.5 if self._preset.born_again and number == first else 1.0
            self._rung(number, self._preset.rest, share * (until() - self._clock.used()), until)
            if not self._state.of_rung(number) or self._is_stale():
                return
            number += 1

    def _is_stale(self) -> bool:
        late = [row for row in self._state.trials if row.rung >= len(self._preset.rungs)][-_STALE:]
        return len(late) == _STALE and self._state.judged()[:1] not in [[row] for row in late]

    def _planned(self, number: int) -> list[TrialRow]:
        return [row for row in self._state.of_rung(number) if row.status == "planned"]

    def _rung(self, number: int, rung: Rung, seconds: float, until: Callable[[], float]) -> None:
        """Plans a rung, unless a killed start has, and trains what is not trained yet."""
        if not self._state.of_rung(number):
            for row in self._plan_rung(number, rung, seconds):
                self._state.replace(row)
            self._clock.save()
        deadline = time.time() + until() - self._clock.used()
        with ThreadPoolExecutor(self._parallel) as pool:
            try:
                for trial in [pool.submit(self._train, row, deadline) for row in self._planned(number)]:
                    while not trial.done():  # polars has Ctrl-C take up a wait again: it comes through between two
                        wait([trial], timeout=0.5)
                    self._say(trial.result())
            except BaseException:  # Ctrl-C: the pool would wait for trials under way
                self._runner.close()
                raise

    def _plan_rung(self, number: int, rung: Rung, seconds: float) -> list[TrialRow]:
        overhead_s = self._state.overhead_s
        rows = self._fitting(number, rung, seconds, overhead_s)
        if not rows and number >= len(self._preset.rungs) and not self._state.judged():
            # Nothing fits beside what a start seems to take: whatever comes of it is more than nothing.
            rows = self._fitting(number, rung, seconds, 0.0)
        return rows

    def _fitting(self, number: int, rung: Rung, seconds: float, overhead_s: float) -> list[TrialRow]:
        """A rung's trials that can be had in its time, in order of the ways and of who is best so far."""
        wanted = [(backbone, start, way) for way in rung.ways for backbone, start in self._entering(rung)]
        fits = trials_that_fit(len(wanted), seconds=seconds, overhead_s=overhead_s, parallel=self._parallel)
        rows: list[TrialRow] = []
        for backbone, start, way in wanted[:fits]:
            planned = plan_trial(
                way,
                least_passes=rung.passes,
                seconds=seconds * min(self._parallel, fits) / fits,
                amounts=self._amounts,
                speed=self._speed(number, backbone),
                overhead_s=overhead_s,
            )
            if planned is not None:
                rows.append(self._row(len(self._state.trials) + len(rows), number, backbone, way, planned, start))
        return rows

    def _follows_itself(self, rung: int) -> bool:
        return self._preset.born_again and rung == len(self._preset.rungs) + 1

    def _speed(self, rung: int, backbone: str) -> Speed:
        speed = speeds_of(self._state.speeds, backbone)
        return Speed(speed.look, 1 / (1 / speed.train + 1 / speed.look)) if self._follows_itself(rung) else speed

    def _entering(self, rung: Rung) -> list[tuple[str, TrialRow | None]]:
        """Networks that enter, each with the trial it goes on from: its best one."""
        judged = self._state.judged()
        failed = {row.backbone for row in self._state.trials if row.status == "failed"}
        names = [name for name in self._networks if name not in failed]
        names = best_of_rung(rung, [row.backbone for row in judged], names)
        return [(name, next((row for row in judged if row.backbone == name), None)) for name in names]

    def _row(
        self, number: int, rung: int, backbone: str, way: Way, planned: Planned, start: TrialRow | None
    ) -> TrialRow:
        run = f"{TRIALS}/{number:02d}"
        batch = self._base.loop.batch_size
        again = start is not None and self._follows_itself(rung)
        recipe = recipe_of(
            self._base,
            self._networks[backbone],
            way,
            planned,
            number=number,
            cache_side=cache_px(self._preset),
            steps=planned.passes * self._amounts.drawn / batch,
            start=None if start is None or again else self._out / start.run,
            teacher=self._out / start.run if again and start is not None else None,
        )
        return TrialRow(
            number=number,
            rung=rung,
            backbone=backbone,
            way=f"{way.name}, born again" if again else way.name,
            px=planned.px,
            epochs=planned.epochs,
            passes=0.0 if way.tune == "head" else planned.passes,
            start=None if start is None else start.number,
            run=run,
            recipe=recipe.model_dump(mode="json"),
            planned_s=planned.seconds,
        )

    def _train(self, row: TrialRow, deadline: float) -> TrialRow:
        spec = TrialSpec(
            number=row.number,
            recipe=row.recipe,
            data=str(self._plan.data),
            out=str(self._out / row.run),
            threads=max(1, self._threads // self._parallel),
            latency=True,
        )
        if row.rung < len(self._preset.rungs):  # a slow trial must not take the next rungs' time
            deadline = min(deadline, time.time() + _LATE * (row.planned_s + self._state.overhead_s))
        with self._clock.spending(f"{row.backbone}, {row.way}, {row.px} px", row.number):
            end = self._runner.run(spec, lambda _epoch, _figures: True, deadline=deadline)
        if end.status == "stopped" and time.time() < deadline - 1:
            return row  # interrupted: it goes on with the next start
        done = self._judged(row, end)
        self._learn(done, end)
        self._state.replace(done)
        self._clock.save()
        return done

    def _judged(self, row: TrialRow, end: TrialEnd) -> TrialRow:
        done = msgspec.structs.replace(
            row, status="failed", seconds=end.seconds, error=end.error, forward_ms=end.best.get(FORWARD_MS)
        )
        run = self._out / row.run
        try:
            if end.status != "failed" and finish(run, Recipe.of(row.recipe), self._plan.data, end):
                found = figures_of(told(run), asked_values(self._plan), seed=self._base.seed)
                status: Status = "complete" if end.status == "complete" else "stopped"
                return msgspec.structs.replace(done, status=status, figures=found, size_mb=size_mb(run))
        except BintallyError as error:
            return msgspec.structs.replace(done, error=str(error))
        if end.status == "stopped":
            return msgspec.structs.replace(done, status="stopped", error="No epoch was over at its deadline.")
        return done

    def _learn(self, row: TrialRow, end: TrialEnd) -> None:
        """Corrects what was measured of this network by what its trial took."""
        if row.status == "stopped" and row.figures is None:  # it hardly came to train
            self._state.overhead_s = min(2 * self._state.overhead_s, _MOST_OVERHEAD_S)
        if row.status != "complete" or len(end.history) < row.epochs:
            return
        in_epochs_s = sum(epoch["seconds"] for epoch in end.history)
        expected_s = max(row.planned_s - self._state.overhead_s, 1e-3)
        if row.passes:
            kind, took_s = "train", in_epochs_s
            self._state.overhead_s = min(max(row.seconds - in_epochs_s, 1.0), _MOST_OVERHEAD_S)
        else:
            kind, took_s = "look", row.seconds - self._state.overhead_s
        ratio = min(max(expected_s / max(took_s, 1e-3), 0.25), 2.0)
        speeds = self._state.speeds
        self._state.speeds = {**speeds, f"{row.backbone} {kind}": speeds[f"{row.backbone} {kind}"] * ratio}

    def _say(self, row: TrialRow) -> None:
        what = f"  {row.number:02d} {row.backbone}, {row.way}, {row.px} px"
        if row.figures is None:
            self._progress.say(f"{what}: {row.status}. {row.error.splitlines()[0] if row.error else ''}")
            return
        self._progress.say(
            f"{what}: val log loss {row.log_loss:.3f}, right {row.figures.accuracy.value:.1%} ({row.seconds:.0f} s)"
        )
