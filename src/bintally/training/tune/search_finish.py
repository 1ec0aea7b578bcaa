"""The end of a search: who answers best, alone or together, exported, judged and told."""

import statistics
import time
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from bintally.artifacts import write_bytes, write_text
from bintally.bundle import SplitMetrics
from bintally.counting.counter import Counter
from bintally.counting.evaluate import evaluate
from bintally.counting.predictions import Predictions
from bintally.counting.report import summary
from bintally.errors import ModelError, TrainingError
from bintally.manifest import SPLIT, Manifest
from bintally.progress import Progress
from bintally.training.export import FAMILIAR_PHOTOS, export
from bintally.training.plan import Plan
from bintally.training.recipe import Recipe
from bintally.training.tune.ensemble import Together, select
from bintally.training.tune.search_judge import asked_values, blind, figures_of, told
from bintally.training.tune.search_leaderboard import leaderboard, write_leaderboard
from bintally.training.tune.search_page import search_page
from bintally.training.tune.search_plan import export_s, speeds_of
from bintally.training.tune.search_report import REPORT, SearchConfig, SearchReport
from bintally.training.tune.search_state import WAITING, Clock, TrialRow

PAGE: Final = "search.html"
BUNDLE: Final = "bundle"
TEST: Final = "test"
MEMBERS: Final = 3
POOL: Final = 12
"""Networks an ensemble is selected from: the best ones."""

_TOLD_S: Final = 2.0  # leaderboard and page
_PASSES: Final = 9
_LEAST_TRAINING: Final = 0.4
_LEAST_TO_ANYTHING: Final = 0.7
"""Of the time, while there is no network yet that could be exported."""


class Finish:
    """What is to be done once training is over, and how long that takes."""

    def __init__(self, *, config: SearchConfig, base: Recipe, plan: Plan, clock: Clock, progress: Progress) -> None:
        self._config, self._base, self._plan = config, base, plan
        self._clock, self._progress = clock, progress
        views = 2 if base.export.flip_averaging else 1
        # What a bin looks like; val for the temperature, then through the bundle; test through the bundle.
        test = Manifest.read(config.data, SPLIT).usable("test", counts=plan.keys).height if config.test else 0
        familiar = min(FAMILIAR_PHOTOS, plan.train.height)
        self._looked = familiar + views * (2 * plan.val.height + test)

    def training_until(self) -> float:
        """When training must be over, by the search's clock, as things stand: export of the best must still fit.

        It has its part of the time even where export would need all of it: late is better than nothing.
        """
        judged = self._clock.state.judged()[:1] or self._clock.state.trials[:1]
        costs = [self._export_s(row) for row in judged] or [self._slowest_s()]
        whole_s = 60 * self._config.minutes
        least = _LEAST_TRAINING if self._clock.state.judged() else _LEAST_TO_ANYTHING
        return max(whole_s - sum(costs) - _TOLD_S, least * whole_s)

    def _export_s(self, row: TrialRow) -> float:
        # The rest may see photos larger than this trial did.
        return self._cost_s(row.backbone, max(row.px, 128))

    def _slowest_s(self) -> float:
        names = [name.removesuffix(" look") for name in self._clock.state.speeds if name.endswith(" look")]
        return max((self._cost_s(name, 160) for name in names), default=0.0)

    def _cost_s(self, backbone: str, px: int) -> float:
        speeds = self._clock.state.speeds
        layers = speeds.get(f"{backbone} layers", 0.0)
        speed, waiting = speeds_of(speeds, backbone), speeds.get(WAITING, 1.0)
        return export_s(speed, px, layers=layers, looked=self._looked, waiting=waiting)

    def run(self) -> SearchReport:
        """Selects, exports, measures and tells.

        Raises:
            TrainingError: no trial came to a judged epoch.
            ModelError: none of the networks can be exported.
        """
        judged = self._clock.state.judged()
        if not judged:
            errors = [row.error for row in self._clock.state.trials if row.error]
            raise TrainingError(
                " ".join([f"No network was trained within {self._config.minutes:g} minutes.", *errors[:1]]),
                hint="Give it more --minutes, or name a smaller one of --backbones.",
            )
        pool = judged[:POOL]
        answers = [told(self._config.out / row.run) for row in pool]
        with self._clock.spending("selecting an ensemble"):
            together = self._selected(pool, answers)
        exported, val = self._exported(pool, together)
        latency_ms = self._latency_ms()
        test = self._tested() if self._config.test else None
        figures = None
        if len(exported) > 1:
            values_k = asked_values(self._plan)
            figures = figures_of(_mean([answers[pool.index(row)] for row in exported]), values_k, seed=self._base.seed)
        rows = leaderboard(
            self._clock.state.trials,
            self._clock.state.left_out,
            winner=[row.number for row in exported],
            together=figures,
            latency_ms=latency_ms,
            size_mb=_size_mb(self._config.out / BUNDLE),
        )
        report = SearchReport(
            out=str(self._config.out),
            bundle=str(self._config.out / BUNDLE),
            preset=self._config.preset,
            minutes=self._config.minutes,
            used_minutes=self._clock.used() / 60,
            winner=tuple(f"{row.number:02d} {row.backbone}" for row in exported),
            ensemble_gain=together.gain,
            rows=tuple(rows),
            blind=blind(self._plan, answers[0]),
            val=val,
            test=test,
            left_out=tuple(self._clock.state.left_out),
            spent=tuple(self._clock.state.spent),
        )
        self._tell(report)
        return report

    def _selected(self, pool: list[TrialRow], answers: list[Predictions]) -> Together:
        """Networks to answer together, as far as exporting them fits into what is left."""
        probabilities_mnk = np.stack([found.probabilities_nk for found in answers])
        for most in range(MEMBERS, 0, -1):
            found = select(
                probabilities_mnk, answers[0].labels_n, answers[0].groups_n.tolist(), most=most, seed=self._base.seed
            )
            needed = sum(self._export_s(pool[member]) for member in found.members)
            if len(found.members) == 1 or self._clock.used() + needed + _TOLD_S <= 60 * self._config.minutes:
                return found
        return found

    def _exported(self, pool: list[TrialRow], together: Together) -> tuple[list[TrialRow], SplitMetrics]:
        """The bundle of the best that can be exported: the ensemble, if it is worth it, else one network."""
        choices = [[row] for row in pool]
        if together.beats_single:
            choices.insert(0, [pool[member] for member in together.members])
        for place, choice in enumerate(choices):
            try:
                with self._clock.spending("export"):
                    return choice, self._export(choice)
            except ModelError as error:
                self._progress.say(f"  {choice[0].backbone} can't be exported: {error.message}")
                if place + 1 == len(choices):
                    raise
        raise AssertionError  # there is at least one choice

    def _export(self, rows: list[TrialRow]) -> SplitMetrics:
        first, *others = (self._config.out / row.run for row in rows)
        recipe = Recipe.of(rows[0].recipe)
        settings = recipe.export.model_copy(update={"ensemble": tuple(others)})
        report = export(
            run=first,
            data=self._config.data,
            out=self._config.out / BUNDLE,
            recipe=recipe.model_copy(update={"export": settings}),
            threads=self._config.threads,
            progress=self._progress,
        )
        return report.val

    def _latency_ms(self) -> float:
        """Median milliseconds of the bundle, one decoded photo at a time on one thread."""
        counter = Counter(self._config.out / BUNDLE, threads=1)
        pixels_nhwc = np.zeros((1, counter.card.height_px, counter.card.width_px, 3), np.uint8)
        seconds = []
        for _ in range(_PASSES):
            started = time.perf_counter()
            counter.distribution(pixels_nhwc)
            seconds.append(time.perf_counter() - started)
        return 1000 * statistics.median(seconds[2:])

    def _tested(self) -> SplitMetrics:
        with self._clock.spending("judging on test"):
            found = evaluate(
                bundle=self._config.out / BUNDLE,
                data=self._config.data,
                out=self._config.out / TEST,
                split="test",
                counts=self._base.evaluate.counts,
                progress=self._progress,
            )
        return summary(found)

    def _tell(self, report: SearchReport) -> None:
        out = self._config.out
        write_leaderboard(out, report.rows, report.blind)
        write_text(out / PAGE, search_page(report))
        write_bytes(out / REPORT, msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
        self._clock.state.ended = True
        self._clock.save()


def _mean(answers: list[Predictions]) -> Predictions:
    first = answers[0]
    probabilities_nk = np.mean([found.probabilities_nk for found in answers], axis=0)
    return Predictions(first.ids_n, first.groups_n, first.recorded_n, first.keys, first.labels_n, probabilities_nk)


def _size_mb(bundle: Path) -> float:
    return sum(path.stat().st_size for path in bundle.iterdir()) / 1e6
