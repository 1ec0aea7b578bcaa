"""Walks one stage of a job: skipped where its last result still holds, run where not, and each time with the reason."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from bintally.artifacts import sha256_of, write_provenance
from bintally.errors import BintallyError
from bintally.pipeline.job import Declined, Job, Stage, State
from bintally.pipeline.reasons import finished_at, why_it_runs
from bintally.pipeline.records import StageRecord
from bintally.pipeline.words import headline, without_login
from bintally.progress import Progress
from bintally.records import to_plain


class StageResult(msgspec.Struct, frozen=True):
    """What became of one stage, and why; `report` is the verb's own, as plain values (None: it did not run)."""

    stage: str
    status: Literal["done", "unchanged", "skipped"]
    seconds: float
    report: dict[str, Any] | None = None
    reason: str = ""


def walk(
    stage: Stage, job: Job, progress: Progress, *, forced: str | None, note: Callable[[StageRecord], None]
) -> StageResult:
    """Runs or skips a stage; `note` hears of it as it begins and when it ends, however it does.

    `forced`: why it runs whatever is unchanged, in words.

    Raises:
        BintallyError: the stage failed.
    """
    started = time.monotonic()
    record = StageRecord(stage=stage.name, status="running", reason="", started=datetime.now(UTC))
    try:
        result = _walked(stage, job, progress, forced, record, note)
    except BaseException as error:
        record.status = "failed" if isinstance(error, Exception) else "stopped"
        record.error = without_login(str(error)) if isinstance(error, Exception) else None
        record.seconds = round(time.monotonic() - started, 1)
        note(record)
        if isinstance(error, BintallyError):
            error.message = f"Stage {stage.name!r} stopped the run: {error.message}"
        raise
    record.seconds = round(time.monotonic() - started, 1)
    record.status, record.reason = result.status, result.reason
    record.said = headline(stage.name, result.report)
    note(record)
    return msgspec.structs.replace(result, seconds=record.seconds)


def _walked(
    stage: Stage,
    job: Job,
    progress: Progress,
    forced: str | None,
    record: StageRecord,
    note: Callable[[StageRecord], None],
) -> StageResult:
    spared = stage.spares(job)
    if spared is not None:
        return StageResult(stage.name, "skipped", 0, reason=f"skipped: {spared}")
    state = stage.state(job)
    record.inputs, record.code, record.settings = state.inputs, state.code, state.plain_settings()
    holds = state.is_current(job.workspace, stage.name)
    asked = forced or (stage.asks(job) if holds else None)
    if holds and asked is None:
        since = finished_at(job.workspace, stage.name)
        return StageResult(stage.name, "unchanged", 0, reason=f"skipped: nothing changed since {since}")
    record.reason = f"ran: {asked or why_it_runs(job.workspace, stage.name, state)}"
    note(record)
    try:
        report = stage.work(job, progress)
    except Exception as error:
        return _stood_in(stage, job, state, error, can=holds and not forced)
    return _finished(stage, job, state, report, record)


def _stood_in(stage: Stage, job: Job, state: State, error: Exception, *, can: bool) -> StageResult:
    """What the stage left last time, where that will do; else the error."""
    why = stage.stands_in(job, error) if can else None
    if why is None or not state.is_current(job.workspace, stage.name):
        raise error
    since = finished_at(job.workspace, stage.name)
    return StageResult(stage.name, "unchanged", 0, reason=f"skipped: {why}; went on with what was there on {since}")


def _finished(stage: Stage, job: Job, state: State, report: Any, record: StageRecord) -> StageResult:
    outputs = stage.outputs(job)
    # The state is taken before the work: an input that changes meanwhile makes the next run do it again.
    # Objects that could not be had are asked for again by the next run: such a fetch is not over.
    if outputs and not getattr(report, "broken", 0):
        write_provenance(
            job.workspace, stage.name, inputs=state.inputs, settings=state.settings, code=state.code,
            outputs=outputs, code_files=state.files,
        )  # fmt: skip
    record.outputs = {path.relative_to(job.workspace).as_posix(): sha256_of(path) for path in outputs}
    if isinstance(report, Declined):
        return StageResult(stage.name, "skipped", 0, to_plain(report.report), f"skipped: {report.why}")
    return StageResult(stage.name, "done", 0, to_plain(report), record.reason)
