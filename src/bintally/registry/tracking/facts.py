"""What is told of a run, as plain data: no MLflow here."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from bintally.bundle import Bundle
from bintally.registry.card.judged import METRICS, read_evaluation, results_of
from bintally.registry.card.told import Results
from bintally.registry.registration.register import must_belong
from bintally.registry.registration.run_files import REPORT, RunFiles, read_run_files, without_logins
from bintally.registry.tracking.curves import Log, Point, is_figure, points, safe
from bintally.signatures.digest import digest_of

RUN_TAG: Final = "bintally.run_sha256"
"""What a run is known by: the SHA-256 of its run.json, which is written once, at its end."""

VALUE: Final = 6000  # characters of a parameter that MLflow takes
TAG: Final = 5000  # and of a tag, as older servers have it
DIGEST: Final = 36  # of a data set's digest


class DatasetTold(msgspec.Struct, frozen=True, kw_only=True):
    """What a run learnt from."""

    name: str
    digest: str
    source: str  # JSON
    profile: str  # JSON: photos by split


class RunTold(msgspec.Struct, frozen=True, kw_only=True):
    """All that is told of a run, but files. Times are Unix milliseconds."""

    sha256: str
    name: str
    started_ms: int
    ended_ms: int
    params: dict[str, str]
    tags: dict[str, str]
    points: list[Point]
    dataset: DatasetTold | None
    files: RunFiles


def read_told(run: Path, *, bundle: Path | None, report: Path | None, by: str) -> RunTold:
    """What is told of the run in that folder, of its `bundle` and of what `bintally evaluate` found (`report`).

    Raises:
        CheckpointError: it is no finished run.
        BundleError: the bundle can't be read.
        UsageError: they don't belong together.
    """
    files, log = read_run_files(run), Log.read(run)
    started_ms, ended_ms = _times(run, files, log)
    name = str(files.recipe.get("name") or run.name)
    results, judged_ms = _results(run, files, bundle, report)
    told = [*points(files, log, ended_ms=ended_ms), *_figures(results, judged_ms)]
    sha256 = hashlib.sha256((run / REPORT).read_bytes()).hexdigest()
    return RunTold(
        sha256=sha256,
        name=f"{name} {datetime.fromtimestamp(started_ms / 1e3, UTC):%Y-%m-%d %H:%M}",
        started_ms=started_ms,
        ended_ms=ended_ms,
        params={key[:250]: value[:VALUE] for key, value in flat(without_logins(files.recipe))},
        tags=_tags(files, bundle, by) | {RUN_TAG: sha256, "mlflow.note.content": _note(files, results)},
        points=told,
        dataset=_dataset(files),
        files=files,
    )


def bundle_tag(sha256: str) -> str:
    """The tag of a run from which the bundle with that digest was exported; there may be several."""
    return f"bintally.bundle.{sha256}"


def flat(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings by their dotted keys, which are made of letters that MLflow takes; what is not set is left out."""
    for name, value in nested.items():
        key = prefix + safe(name)
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{key}.")
        elif value is not None:
            yield key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _times(run: Path, files: RunFiles, log: Log) -> tuple[int, int]:
    """When a training began and ended, as far as that is known."""
    ended = log.ended_at
    ended_ms = _mtime_ms(run / REPORT) if ended is None else round(1e3 * ended)
    began = (files.environment or {}).get("started_at")
    seconds = files.report.get("seconds")
    if is_figure(began):
        return min(round(1e3 * float(began or 0)), ended_ms), ended_ms
    return ended_ms - round(1e3 * float(seconds or 0) if is_figure(seconds) else 0), ended_ms


def _mtime_ms(path: Path) -> int:
    return path.stat().st_mtime_ns // 1_000_000


def _results(run: Path, files: RunFiles, bundle: Path | None, report: Path | None) -> tuple[tuple[Results, ...], int]:
    """A bundle's figures, and when they were measured: of two bundles of a run, MLflow shows the later one's."""
    if bundle is None:
        return (), 0
    opened = Bundle.open(bundle)
    must_belong(opened, run, files)
    if report is None:
        return results_of(opened.card, None), round(1e3 * datetime.fromisoformat(opened.card.created).timestamp())
    return results_of(opened.card, read_evaluation(report, opened.card)), _mtime_ms(report / METRICS)


def _figures(results: tuple[Results, ...], at_ms: int) -> Iterator[Point]:
    """Each figure with its 95% interval, and what one reaches who never looks at a photo."""
    for each in results:
        for row in each.rows:
            told = {
                "": row.measured.value,
                "_low": row.measured.low,
                "_high": row.measured.high,
                "_blind": row.blind,
                "_blind_in_hindsight": row.blind_in_hindsight,
            }
            for ending, value in told.items():
                if value is not None and is_figure(value):
                    yield Point(safe(f"{each.split}/{row.name}{ending}"), value, at_ms, 0)


def _tags(files: RunFiles, bundle: Path | None, by: str) -> dict[str, str]:
    environment = without_logins(files.environment or {})
    told = {
        "mlflow.user": by,
        "mlflow.source.name": "bintally train",
        "mlflow.source.type": "LOCAL",
        "bintally.training_identity": files.report.get("identity"),
        "bintally.dataset_sha256": files.dataset,
        "bintally.weights": without_logins(files.report.get("weights")),
        "bintally.findings": _findings(files),
        **{f"environment.{key}": value for key, value in flat(environment)},
    }
    if bundle is not None:
        told[bundle_tag(digest_of(bundle))] = "exported"
    return {key: str(value)[:TAG] for key, value in told.items() if value is not None}


def _findings(files: RunFiles) -> str:
    if files.findings is None:
        return "not watched"
    return ", ".join(str(each.get("rule")) for each in files.findings) or "none"


def _note(files: RunFiles, results: tuple[Results, ...]) -> str:
    """A few lines of Markdown for the run's page."""
    report, lines = files.report, []
    best = report.get("best") or {}
    if is_figure(best.get("accuracy")):
        blind = report.get("blind_accuracy")
        never = f" (never looking at a photo: {blind:.3f})" if is_figure(blind) else ""
        lines.append(f"Kept epoch {best.get('epoch', 0):.0f}: val accuracy {best['accuracy']:.3f}{never}.")
    for each in results:
        for row in each.rows:
            if row.name == "accuracy":
                figure = row.measured
                never = "" if row.blind is None else f", never looking {row.blind:.3f}"
                interval = f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
                lines.append(f"{each.split}: accuracy {interval}{never}, {each.photos:,} photos, counts {each.counts}.")
    lines.append(f"Findings: {_findings(files)}.")
    return "\n\n".join(lines)


def _dataset(files: RunFiles) -> DatasetTold | None:
    if files.dataset is None:
        return None
    source = without_logins(files.recipe.get("source") or "")
    photos = {name: files.report[f"{name}_photos"] for name in ("train", "val") if f"{name}_photos" in files.report}
    return DatasetTold(
        name=str(source or files.recipe.get("name") or "photos")[:500],
        digest=files.dataset[:DIGEST],
        source=json.dumps({"source": source, "split_sha256": files.dataset}),
        profile=json.dumps({f"{name}_photos": number for name, number in photos.items()}),
    )
