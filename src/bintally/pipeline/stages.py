"""The stages, as an executable table of contents: what each reads, what decides its result, what it leaves.

Stages hand over files, never live objects, and import what they need when they run. A workspace afterwards:

```
WORKSPACE/data/        photos, metadata, manifest.parquet, checked.parquet, split.parquet, explore.html
WORKSPACE/run/         the training: weights, curves, checkpoints
WORKSPACE/bundle/      model.onnx + card.json
WORKSPACE/report/      report.html, metrics.json, predictions.parquet
WORKSPACE/promotion/   with --promote: registered.json, gates.json
WORKSPACE/provenance/  what each stage's files were made from
WORKSPACE/runs/        what happened in each run, and why: `records`
```
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bintally.artifacts import fingerprint, sha256_of
from bintally.bundle import CARD
from bintally.counting.evaluate import METRICS, PREDICTIONS, REPORT
from bintally.data.journal import JOURNAL
from bintally.errors import SourceError, UsageError
from bintally.manifest import CHECKED, FETCHED, SPLIT
from bintally.pipeline import promoting
from bintally.pipeline.job import Job, Stage
from bintally.pipeline.words import without_login
from bintally.progress import Progress
from bintally.registry.registration.run_files import without_logins
from bintally.training.deciding import CODE
from bintally.training.finished import RECIPE, RUN, WEIGHTS
from bintally.training.recipe import Recipe


def source_state(source: str) -> dict[str, str]:
    """A source's name and, for a local one, a digest of its files' names, sizes and times: a new photo is noticed."""
    folder = Path(source)
    if not folder.exists():
        return {"name": without_login(source)}
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


def _fetch(job: Job, progress: Progress) -> Any:
    from bintally.data.fetch import fetch

    try:
        return fetch(source=job.source, out=job.data, progress=progress, **job.recipe.fetch.model_dump())
    except UsageError as error:
        if "--out" in error.hint:  # what `bintally fetch` would say
            error.hint = "Choose another --workspace."
        raise


def _fetch_settings(job: Job) -> dict[str, Any]:
    listed = job.recipe.fetch.list_file
    digest = sha256_of(listed) if listed is not None and listed.is_file() else None
    asked: dict[str, Any] = without_logins(job.recipe.fetch.model_dump(mode="json"))
    return {"source": source_state(job.source), "list": digest, **asked}


def _looks_again(job: Job) -> str | None:
    """Whether only a look can tell that a source has new photos; the look is cheap, as what is here stays here."""
    is_table = Path(job.source).is_file()
    if is_table or job.source == "abid" or "://" in job.source:
        return f"looked for new photos at {without_login(job.source)}"
    return None


def _stands_in(job: Job, error: Exception) -> str | None:
    """A source that can't be reached for a night: what was fetched before is still right."""
    if isinstance(error, SourceError) and _looks_again(job) and not Path(job.source).is_file():
        return f"could not look for new photos ({without_login(error.message).rstrip('.')})"
    return None


def _check(job: Job, progress: Progress) -> Any:
    from bintally.data.check import check

    return check(data=job.data, settings=job.recipe.check, progress=progress)


def _explore(job: Job, progress: Progress) -> Any:
    from bintally.data.explore import explore

    return explore(data=job.data, progress=progress)


def _split(job: Job, progress: Progress) -> Any:
    from bintally.data.split import split

    return split(data=job.data, fresh=job.fresh, progress=progress, **job.recipe.split.model_dump())


def _train(job: Job, progress: Progress) -> Any:
    from bintally.training.run import train

    return train(recipe=job.recipe, data=job.data, out=job.run, replace=True, progress=progress)


def _train_settings(job: Job) -> dict[str, Any]:
    from bintally.training.plan import training_state

    return training_state(job.recipe)


def _export(job: Job, progress: Progress) -> Any:
    from bintally.training.export import export

    name = f"{job.recipe.name}-{sha256_of(job.run / WEIGHTS)[:8]}"
    return export(run=job.run, data=job.data, out=job.bundle, recipe=job.recipe, name=name, progress=progress)


def _export_state(recipe: Recipe) -> dict[str, Any]:
    """What export decides by; runs that stand beside this one's by their weights."""
    state = recipe.model_dump(mode="json", include={"name", "export", "evaluate"})
    runs = (*recipe.export.ensemble, *([recipe.export.beside] if recipe.export.beside else []))
    others = [run / WEIGHTS for run in runs]
    return state | {"weights": [sha256_of(path) for path in others if path.is_file()]}


def _evaluate(job: Job, progress: Progress) -> Any:
    from bintally.counting.evaluate import evaluate

    settings = job.recipe.evaluate.model_dump()
    return evaluate(bundle=job.bundle, data=job.data, out=job.report, progress=progress, **settings)


def bundle_files(bundle: Path) -> list[Path]:
    """The graphs of a bundle, compressed or not, and its card."""
    return [*sorted(bundle.glob("*.onnx")), *sorted(bundle.glob("*.onnx.gz")), bundle / CARD]


STAGES: Final[tuple[Stage, ...]] = (
    Stage(
        "fetch",
        after=(),
        inputs=lambda job: [],
        settings=_fetch_settings,
        work=_fetch,
        outputs=lambda job: [job.data / FETCHED, job.data / JOURNAL],
        asks=_looks_again,
        stands_in=_stands_in,
        code=tuple(
            f"data/{place}"
            for place in ("fetch.py", "transfer.py", "journal.py", "selection.py", "abid.py", "sources", "rendered")
        ),
    ),
    Stage(
        "check",
        after=("fetch",),
        inputs=lambda job: [job.data / FETCHED],
        settings=lambda job: job.recipe.check.model_dump(),
        work=_check,
        outputs=lambda job: [job.data / CHECKED],
        code=tuple(
            f"data/{name}.py"
            for name in ("check", "inspection", "inspectors", "quality", "duplicates", "reasons", "abid")
        ),
    ),
    Stage(
        "explore",
        after=("check",),
        inputs=lambda job: [job.data / CHECKED],
        settings=lambda job: {},
        work=_explore,
        outputs=lambda job: [job.data / "explore.html"],
        code=("data", "pages.py", "templates/explore.html", "templates/base.html"),
    ),
    Stage(
        "split",
        after=("check",),
        inputs=lambda job: [job.data / CHECKED],
        settings=lambda job: job.recipe.split.model_dump(),
        work=_split,
        outputs=lambda job: [job.data / SPLIT],
        asks=lambda job: "a fresh draw was asked for" if job.fresh else None,
        code=tuple(
            f"data/{name}.py"
            for name in (
                "split",
                "dividing",
                "staying",
                "stratify",
                "grouping",
                "leakage",
                "duplicates",
            )
        ),
    ),
    Stage(
        "train",
        after=("split",),
        inputs=lambda job: [job.data / SPLIT],
        settings=_train_settings,
        work=_train,
        outputs=lambda job: [job.run / name for name in (RUN, RECIPE, WEIGHTS, "curves.svg")],
        code=CODE,
    ),
    Stage(
        "export",
        after=("split", "train"),
        inputs=lambda job: [job.data / SPLIT, job.run / RUN, job.run / WEIGHTS],
        settings=lambda job: _export_state(job.recipe),
        work=_export,
        outputs=lambda job: bundle_files(job.bundle),
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
        after=("split", "export"),
        inputs=lambda job: [job.data / SPLIT, *bundle_files(job.bundle)],
        settings=lambda job: job.recipe.evaluate.model_dump(),
        work=_evaluate,
        outputs=lambda job: [job.report / name for name in (REPORT, METRICS, PREDICTIONS)],
        code=("counting", "pages.py", "templates/evaluation.html", "templates/base.html"),
    ),
)

PROMOTING: Final[tuple[Stage, ...]] = (
    Stage(
        "register",
        after=("train", "export", "evaluate"),
        inputs=lambda job: [*bundle_files(job.bundle), job.run / RUN, job.report / METRICS],
        settings=promoting.register_settings,
        work=promoting.register,
        outputs=lambda job: [job.promotion / promoting.REGISTERED],
        asks=promoting.not_registered,
        code=("registry/registration",),
    ),
    Stage(
        "gates",
        after=("split", "register"),
        inputs=lambda job: [job.data / SPLIT, job.promotion / promoting.REGISTERED],
        settings=promoting.gates_settings,
        work=promoting.gates,
        outputs=lambda job: [job.promotion / promoting.GATES],
        spares=promoting.need_no_gates,
        code=("registry/gates", "counting"),
    ),
    Stage(
        "promote",
        after=("register", "gates"),
        inputs=lambda job: [job.promotion / promoting.REGISTERED, job.promotion / promoting.GATES],
        settings=lambda job: {},
        work=promoting.promote,
        outputs=lambda job: [job.promotion / promoting.PROMOTED],
        asks=lambda job: "who serves is decided in each run",
        spares=promoting.need_no_promotion,
        code=("registry/promotion.py",),
    ),
)
"""What --promote adds: a version, judged beside the champion, takes its place if it is better."""
