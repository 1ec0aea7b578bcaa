"""The whole job as an executable table of contents: `STAGES`, and `run_pipeline()` that walks them.

Stages hand over files, never live objects. A stage whose inputs, settings and code are unchanged is skipped and says
so; a stage that fails stops the run. What a workspace holds afterwards:

```
WORKSPACE/data/      photos, metadata, manifest.parquet, checked.parquet, split.parquet, explore.html
WORKSPACE/run/       the training: weights, curves, checkpoints
WORKSPACE/bundle/    model.onnx + card.json
WORKSPACE/report/    report.html, metrics.json, predictions.parquet
WORKSPACE/pipeline.json
```
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from bintally.artifacts import code_fingerprint, fingerprint, is_current, sha256_of, write_json, write_provenance
from bintally.bundle import CARD
from bintally.counting.evaluate import METRICS, PREDICTIONS, REPORT, evaluate
from bintally.data.check import check
from bintally.data.explore import explore
from bintally.data.fetch import fetch
from bintally.data.split import split
from bintally.errors import BintallyError, ConfigError, UsageError, did_you_mean
from bintally.manifest import CHECKED, FETCHED, SPLIT
from bintally.progress import SILENT, Progress
from bintally.records import to_plain
from bintally.training.export import export
from bintally.training.finished import RECIPE, RUN
from bintally.training.network import WEIGHTS
from bintally.training.plan import CODE, training_state
from bintally.training.recipe import Recipe
from bintally.training.run import train

CONTRACTS: Final = ("records.py", "manifest.py", "bundle.py", "photos.py")


@dataclass(frozen=True)
class Job:
    """One recipe on one source in one workspace."""

    recipe: Recipe
    source: str
    workspace: Path

    @property
    def data(self) -> Path:
        """Photos and their tables."""
        return self.workspace / "data"

    @property
    def run(self) -> Path:
        """The training."""
        return self.workspace / "run"

    @property
    def bundle(self) -> Path:
        """The exported model."""
        return self.workspace / "bundle"

    @property
    def report(self) -> Path:
        """The evaluation."""
        return self.workspace / "report"


@dataclass(frozen=True)
class Stage:
    """One stage: what it reads, what decides its result, what it does, what it leaves."""

    name: str
    inputs: Callable[[Job], list[Path]]
    settings: Callable[[Job], Any]
    work: Callable[[Job, Progress], Any]
    outputs: Callable[[Job], list[Path]]
    code: tuple[str, ...]

    def state(self, job: Job) -> dict[str, Any]:
        """Everything that decides whether the stage's last result still holds.

        Raises:
            UsageError: an earlier stage has not been run.
        """
        inputs = {}
        for path in self.inputs(job):
            if not path.is_file():
                raise UsageError(
                    f"Stage {self.name!r} needs {path}, which is not there.", hint="Run the earlier stages first."
                )
            inputs[path.relative_to(job.workspace).as_posix()] = sha256_of(path)
        return {"inputs": inputs, "settings": self.settings(job), "code": code_fingerprint([*self.code, *CONTRACTS])}


def _fetch(job: Job, progress: Progress) -> Any:
    try:
        return fetch(source=job.source, out=job.data, progress=progress, **job.recipe.fetch.model_dump())
    except UsageError as error:
        if "--out" in error.hint:  # what `bintally fetch` would say
            error.hint = "Choose another --workspace."
        raise


def _fetch_settings(job: Job) -> dict[str, Any]:
    listed = job.recipe.fetch.list_file
    digest = sha256_of(listed) if listed is not None and listed.is_file() else None
    return {"source": source_state(job.source), "list": digest, **job.recipe.fetch.model_dump()}


def _train(job: Job, progress: Progress) -> Any:
    return train(recipe=job.recipe, data=job.data, out=job.run, replace=True, progress=progress)


def _export(job: Job, progress: Progress) -> Any:
    name = f"{job.recipe.name}-{sha256_of(job.run / WEIGHTS)[:8]}"
    return export(run=job.run, data=job.data, out=job.bundle, recipe=job.recipe, name=name, progress=progress)


def _bundle_files(bundle: Path) -> list[Path]:
    """The graphs of a bundle, compressed or not, and its card."""
    return [*sorted(bundle.glob("*.onnx")), *sorted(bundle.glob("*.onnx.gz")), bundle / CARD]


def _export_state(recipe: Recipe) -> dict[str, Any]:
    """What export decides by; runs that stand beside this one's by their weights."""
    state = recipe.model_dump(mode="json", include={"name", "export", "evaluate"})
    runs = (*recipe.export.ensemble, *([recipe.export.beside] if recipe.export.beside else []))
    others = [run / WEIGHTS for run in runs]
    return state | {"weights": [sha256_of(path) for path in others if path.is_file()]}


def _evaluate(job: Job, progress: Progress) -> Any:
    settings = job.recipe.evaluate.model_dump()
    return evaluate(bundle=job.bundle, data=job.data, out=job.report, progress=progress, **settings)


STAGES: Final[tuple[Stage, ...]] = (
    Stage(
        "fetch",
        inputs=lambda job: [],
        settings=_fetch_settings,
        work=_fetch,
        outputs=lambda job: [job.data / FETCHED],
        code=tuple(
            f"data/{place}"
            for place in ("fetch.py", "transfer.py", "journal.py", "selection.py", "abid.py", "sources", "rendered")
        ),
    ),
    Stage(
        "check",
        inputs=lambda job: [job.data / FETCHED],
        settings=lambda job: job.recipe.check.model_dump(),
        work=lambda job, progress: check(data=job.data, settings=job.recipe.check, progress=progress),
        outputs=lambda job: [job.data / CHECKED],
        code=tuple(
            f"data/{name}.py"
            for name in ("check", "inspection", "inspectors", "quality", "duplicates", "reasons", "abid")
        ),
    ),
    Stage(
        "explore",
        inputs=lambda job: [job.data / CHECKED],
        settings=lambda job: {},
        work=lambda job, progress: explore(data=job.data, progress=progress),
        outputs=lambda job: [job.data / "explore.html"],
        code=("data", "pages.py", "templates/explore.html", "templates/base.html"),
    ),
    Stage(
        "split",
        inputs=lambda job: [job.data / CHECKED],
        settings=lambda job: job.recipe.split.model_dump(),
        work=lambda job, progress: split(data=job.data, progress=progress, **job.recipe.split.model_dump()),
        outputs=lambda job: [job.data / SPLIT],
        code=tuple(f"data/{name}.py" for name in ("split", "stratify", "grouping", "leakage", "duplicates")),
    ),
    Stage(
        "train",
        inputs=lambda job: [job.data / SPLIT],
        settings=lambda job: training_state(job.recipe),
        work=_train,
        outputs=lambda job: [job.run / name for name in (RUN, RECIPE, WEIGHTS, "curves.svg")],
        code=CODE,
    ),
    Stage(
        "export",
        inputs=lambda job: [job.data / SPLIT, job.run / RUN, job.run / WEIGHTS],
        settings=lambda job: _export_state(job.recipe),
        work=_export,
        outputs=lambda job: _bundle_files(job.bundle),
        code=(
            "counting",
            *(
                f"training/{name}.py"
                for name in (
                    "export",
                    "export_beside",
                    "calibrate",
                    "fit_change",
                    "fit_verification",
                    "quantize",
                    "servable",
                    "onnx_file",
                    "network",
                    "heads",
                    "attributes",
                    "pairs",
                    "cache",
                    "plan",
                )
            ),
        ),
    ),
    Stage(
        "evaluate",
        inputs=lambda job: [job.data / SPLIT, *_bundle_files(job.bundle)],
        settings=lambda job: job.recipe.evaluate.model_dump(),
        work=_evaluate,
        outputs=lambda job: [job.report / name for name in (REPORT, METRICS, PREDICTIONS)],
        code=("counting", "pages.py", "templates/evaluation.html", "templates/base.html"),
    ),
)


class StageResult(msgspec.Struct, frozen=True):
    """What became of one stage; `report` is the verb's own, as plain values (None: skipped)."""

    stage: str
    status: Literal["done", "unchanged"]
    seconds: float
    report: dict[str, Any] | None = None


class PipelineReport(msgspec.Struct, frozen=True):
    """What became of a pipeline run."""

    recipe: str
    source: str
    workspace: str
    stages: list[StageResult]
    seconds: float


def run_pipeline(
    *,
    recipe: Recipe | Path,
    source: str | None = None,
    workspace: Path | None = None,
    from_stage: str | None = None,
    only: str | None = None,
    progress: Progress = SILENT,
    on_stage: Callable[[StageResult], None] = lambda result: None,
) -> PipelineReport:
    """Runs a recipe's stages on `source`, skipping what is unchanged; `on_stage` hears of each one as it ends.

    `from_stage` runs that stage and all later ones even if unchanged, `only` just that one. The default workspace is
    runs/RECIPE, or runs/RECIPE-SOURCE for another source than the recipe's own.

    Raises:
        BintallyError: a stage failed; later ones were not started.
    """
    resolved = recipe if isinstance(recipe, Recipe) else Recipe.read(recipe)
    job = _job(resolved, source, workspace)
    first, last = _range(from_stage, only)
    started = time.monotonic()
    results = []
    for place, stage in enumerate(STAGES):
        if first <= place <= last:
            results.append(_walk(stage, job, progress, forced=from_stage is not None or only is not None))
            on_stage(results[-1])
    report = PipelineReport(
        resolved.name, job.source, str(job.workspace), results, round(time.monotonic() - started, 1)
    )
    write_json(job.workspace / "pipeline.json", to_plain(report))
    return report


def source_state(source: str) -> dict[str, str]:
    """A source's name and, for a local one, a digest of its files' names, sizes and times: a new photo is noticed."""
    folder = Path(source)
    if not folder.exists():
        return {"name": source}
    places = sorted(_files_of(folder)) if folder.is_dir() else [folder]
    found = [
        (place.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns)
        for place in places
        if place.is_file() and (stat := place.stat())
    ]
    return {"name": str(folder.resolve()), "files": fingerprint(found)}


def _files_of(folder: Path) -> Iterator[Path]:
    """Every file below a folder, through links to folders too: a mirror of the bucket links its photos."""
    for path in folder.iterdir():
        if path.is_dir():
            yield from _files_of(path)
        else:
            yield path


def _walk(stage: Stage, job: Job, progress: Progress, *, forced: bool) -> StageResult:
    started = time.monotonic()
    state = stage.state(job)
    if not forced and is_current(job.workspace, stage.name, **state):
        return StageResult(stage.name, "unchanged", round(time.monotonic() - started, 1))
    try:
        report = stage.work(job, progress)
    except BintallyError as error:
        error.message = f"Stage {stage.name!r} stopped the run: {error.message}"
        raise
    # The state is taken before the work: an input that changes meanwhile makes the next run do it again.
    # Objects that could not be had are asked for again by the next run: such a fetch is not over.
    if not getattr(report, "broken", 0):
        write_provenance(job.workspace, stage.name, outputs=stage.outputs(job), **state)
    return StageResult(stage.name, "done", round(time.monotonic() - started, 1), to_plain(report))


def _job(recipe: Recipe, source: str | None, workspace: Path | None) -> Job:
    chosen = source or recipe.source
    if not chosen:
        raise ConfigError(
            f"Recipe {recipe.name!r} names no source.", hint="Say --source DIR (or sample, abid, s3://...)."
        )
    if workspace is None:
        own = chosen == recipe.source
        slug = "".join(c if c.isalnum() else "-" for c in chosen.rstrip("/").rpartition("/")[2]).strip("-")
        workspace = Path("runs") / (recipe.name if own else f"{recipe.name}-{slug or 'source'}")
    return Job(recipe, chosen, workspace)


def _range(from_stage: str | None, only: str | None) -> tuple[int, int]:
    names = [stage.name for stage in STAGES]
    for name in (from_stage, only):
        if name is not None and name not in names:
            raise UsageError(f"There is no stage {name!r}.", hint=did_you_mean(name, names))
    if from_stage and only:
        raise UsageError("--from and --only exclude each other.", hint="Give one of them.")
    if only:
        return names.index(only), names.index(only)
    return names.index(from_stage) if from_stage else 0, len(names) - 1
