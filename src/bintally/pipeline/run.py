"""`run_pipeline()` walks the stages of a recipe, and writes down what it does and why."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from bintally.artifacts import write_json
from bintally.errors import ConfigError, UsageError, did_you_mean
from bintally.pipeline.job import Job, Stage
from bintally.pipeline.lock import alone
from bintally.pipeline.promoting import Promoter
from bintally.pipeline.records import (
    RunRecord,
    StageRecord,
    as_killed,
    new_record,
    read_records,
    user_name,
    write_record,
)
from bintally.pipeline.stages import PROMOTING, STAGES
from bintally.pipeline.walk import StageResult, walk
from bintally.pipeline.words import moment, without_login
from bintally.progress import SILENT, Progress
from bintally.records import to_plain
from bintally.training.recipe import Recipe

REPORT = "pipeline.json"


class PipelineReport(msgspec.Struct, frozen=True):
    """What became of a pipeline run. The last three only where it was to promote.

    `promoted`: whether this run made its `version` the champion; `champion`: who is that now.
    """

    recipe: str
    source: str
    workspace: str
    stages: list[StageResult]
    seconds: float
    run: str = ""
    promoted: bool | None = None
    version: str | None = None
    champion: str | None = None


def run_pipeline(
    *,
    recipe: Recipe | Path,
    source: str | None = None,
    workspace: Path | None = None,
    from_stage: str | None = None,
    only: str | None = None,
    fresh: bool = False,
    registry: Path | None = None,
    model: str = "bintally",
    by: str | None = None,
    progress: Progress = SILENT,
    on_stage: Callable[[StageResult], None] = lambda result: None,
) -> PipelineReport:
    """Runs a recipe's stages on `source`, skipping what is unchanged; `on_stage` hears of each one as it ends.

    `from_stage` runs that stage and all later ones even if unchanged, `only` just that one; `fresh` draws the split
    anew. The default workspace is runs/RECIPE, or runs/RECIPE-SOURCE for another source than the recipe's own.

    `registry`: registers the bundle there as a version of `model`, has the gates judge it beside the champion, and
    promotes it if they let it. `by`: who does that (default: the system's user).

    Raises:
        ConflictError: another run is at work in the workspace, or somebody else is promoting.
        BintallyError: a stage failed; later ones were not started.
    """
    resolved = recipe if isinstance(recipe, Recipe) else Recipe.read(recipe)
    job = _job(resolved, source, workspace, fresh=fresh)
    chosen = _chosen(STAGES if registry is None else (*STAGES, *PROMOTING), from_stage, only)
    record = new_record(resolved.name, without_login(job.source), by=by or user_name())
    who = f"{record.by} (process {os.getpid()} on {platform.node()}, since {moment(record.started)})"
    with alone(job.workspace, who=who), ExitStack() as held:
        _mark_killed(job.workspace)
        if registry is not None:
            promoter = Promoter(registry, model=model, by=record.by, run=record.id)
            job = Job(
                job.recipe, job.source, job.workspace, held.enter_context(promoter.at_work(resolved, progress)), fresh
            )
        forced = f"asked for ({f'--from {from_stage}' if from_stage else f'--only {only}'})"
        return _Run(job, record, progress, on_stage).walk(chosen, forced if from_stage or only else None)


class _Run:
    """A run under way."""

    def __init__(
        self, job: Job, record: RunRecord, progress: Progress, on_stage: Callable[[StageResult], None]
    ) -> None:
        self._job, self._record, self._progress, self._on_stage = job, record, progress, on_stage

    def walk(self, stages: Sequence[Stage], forced: str | None) -> PipelineReport:
        """Stage by stage; whatever ends it is written down."""
        started, record = time.monotonic(), self._record
        write_record(self._job.workspace, record)
        results: list[StageResult] = []
        try:
            for stage in stages:
                results.append(walk(stage, self._job, self._progress, forced=forced, note=self._note))
                self._on_stage(results[-1])
            report = self._report(results, round(time.monotonic() - started, 1))
            record.status, record.promoted, record.version = "done", report.promoted, report.version
        except BaseException as error:
            record.status = "failed" if isinstance(error, Exception) else "stopped"
            record.error = without_login(str(error)) or None
            raise
        finally:
            record.ended = datetime.now(UTC)
            write_record(self._job.workspace, record)
        write_json(self._job.workspace / REPORT, to_plain(report))
        return report

    def _note(self, stage: StageRecord) -> None:
        """A stage as it is now, in place of what it was a moment ago."""
        others = [each for each in self._record.stages if each.stage != stage.stage]
        self._record.stages = [*others, stage]
        write_record(self._job.workspace, self._record)

    def _report(self, results: list[StageResult], seconds: float) -> PipelineReport:
        job = self._job
        told: dict[str, Any] = {}
        if job.promoter is not None and any(result.stage == "promote" for result in results):
            champion, last = job.promoter.champion(), results[-1].report
            told = {
                "promoted": bool(last and last["promoted"]),
                "version": job.promoter.version(job).name,
                "champion": champion and champion.name,
            }
        return PipelineReport(
            job.recipe.name, without_login(job.source), str(job.workspace), results, seconds, self._record.id, **told
        )


def _mark_killed(workspace: Path) -> None:
    """Nobody else is at work here: what is written down as under way was killed."""
    for record in read_records(workspace, last=5):
        if record.status == "running":
            write_record(workspace, as_killed(record))


def _job(recipe: Recipe, source: str | None, workspace: Path | None, *, fresh: bool) -> Job:
    chosen = source or recipe.source
    if not chosen:
        raise ConfigError(
            f"Recipe {recipe.name!r} names no source.", hint="Say --source DIR (or sample, abid, s3://...)."
        )
    if workspace is None:
        own = chosen == recipe.source
        last = without_login(chosen).rstrip("/").rpartition("/")[2]
        slug = "".join(c if c.isalnum() else "-" for c in last).strip("-")
        workspace = Path("runs") / (recipe.name if own else f"{recipe.name}-{slug or 'source'}")
    return Job(recipe, chosen, workspace, fresh=fresh)


def _chosen(stages: Sequence[Stage], from_stage: str | None, only: str | None) -> Sequence[Stage]:
    names = [stage.name for stage in stages]
    for name in (from_stage, only):
        if name is not None and name not in names:
            needs = " It needs --promote." if name in [stage.name for stage in PROMOTING] else ""
            raise UsageError(f"There is no stage {name!r}.{needs}", hint=did_you_mean(name, names))
    if from_stage and only:
        raise UsageError("--from and --only exclude each other.", hint="Give one of them.")
    if only:
        return [stage for stage in stages if stage.name == only]
    return stages[names.index(from_stage) :] if from_stage else stages
