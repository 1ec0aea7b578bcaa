"""The `log` verb: a finished run, told to MLflow once, whoever tells it and however often.

A run is known by the SHA-256 of its run.json, a tag. One that is there is gone on with: all that is told may be told
twice, but for the run itself, which one at a time looks for and makes.
"""

import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from bintally.artifacts import fingerprint, sha256_of
from bintally.errors import BintallyError
from bintally.registry.acting import actor
from bintally.registry.place import SYSTEM, Registry
from bintally.registry.registration.register import checked_name
from bintally.registry.tracking.facts import RUN_TAG, DatasetTold, RunTold, read_told
from bintally.registry.tracking.files import BUNDLES, write_files
from bintally.registry.tracking.reached import Tracker, one_at_a_time, reached, why_not
from bintally.registry.versions import MODEL
from bintally.signatures.digest import digest_over, files_of

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Run

TOLD_TAG: Final = "bintally.told"
"""The fingerprint of all that was told, set last: a run without it was killed."""

_MOST_METRICS, _MOST_PARAMS = 1000, 100  # in one request

Item = TypeVar("Item")


class Logged(msgspec.Struct, frozen=True, kw_only=True):
    """A run in MLflow. `is_new`: this call told something; `where`: the tracking server."""

    run_id: str
    is_new: bool
    experiment: str
    where: str


def log_run(
    *,
    run: Path,
    registry: Path,
    bundle: Path | None = None,
    report: Path | None = None,
    model: str = MODEL,
    by: str = SYSTEM,
) -> Logged:
    """Tells the MLflow of the registry in `registry` of a finished run, as `log` does.

    Raises:
        BintallyError: as `Registry.open` and `log`.
    """
    with Registry.open(registry) as opened:
        return log(opened, run, bundle=bundle, report=report, model=model, by=by)


def log(
    registry: Registry,
    run: Path,
    *,
    bundle: Path | None = None,
    report: Path | None = None,
    model: str = MODEL,
    by: str,
) -> Logged:
    """Tells MLflow of a finished run, in the experiment called `model`; one that it knows all of is left as it is.

    `bundle`: what was exported of the run; `report`: the folder of `bintally evaluate --out` on that bundle.

    Raises:
        CheckpointError: it is no finished run.
        BundleError: the bundle can't be read.
        UsageError: run, bundle and report don't belong together; or tracking is switched off.
        ConflictError: somebody else is at it, and takes long.
        MissingExtraError: MLflow is not installed.
        StorageError: it can't be told.
    """
    by, model = actor(by), checked_name(model)
    told = read_told(run, bundle=bundle, report=report, by=by)
    with tempfile.TemporaryDirectory(prefix="bintally-") as made, reached(registry) as tracker:
        folder = Path(made)
        write_files(told, run, report, folder)
        experiment = tracker.experiment(model)
        held = _found_or_made(registry, tracker, experiment, told, by=by)
        whole = _fingerprint(told, folder)
        is_new = not _is_known(held, whole, asks_more=bundle is not None)
        if is_new:
            _tell(tracker, held, told, folder, bundle)
            tracker.client.set_tag(held.info.run_id, TOLD_TAG, whole)
            tracker.client.set_terminated(held.info.run_id, "FINISHED", told.ended_ms)
        return Logged(run_id=held.info.run_id, is_new=is_new, experiment=model, where=tracker.where)


def try_log(
    registry: Registry, run: Path, *, bundle: Path | None, report: Path | None, model: str, by: str
) -> tuple[str | None, str | None]:
    """MLflow's name of a finished run, logged now if need be; else why it has none: it can be told later."""
    why = why_not(registry)
    if why:
        return None, why
    try:
        return log(registry, run, bundle=bundle, report=report, model=model, by=by).run_id, None
    except BintallyError as error:
        return None, error.message


def _found_or_made(registry: Registry, tracker: Tracker, experiment: str, told: RunTold, *, by: str) -> "Run":
    with one_at_a_time(registry, by=by, what=f"logging of {told.sha256}"):
        found = tracker.client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{told.sha256}'", max_results=1)
        if found:
            return found[0]
        tags = {RUN_TAG: told.sha256}
        return tracker.client.create_run(experiment, start_time=told.started_ms, tags=tags, run_name=told.name)


def _is_known(held: "Run", whole: str, *, asks_more: bool) -> bool:
    """Whether all is told. Without a bundle that is so once the training was: what it left does not change."""
    told = held.data.tags.get(TOLD_TAG)
    return held.info.status == "FINISHED" and (told == whole or (told is not None and not asks_more))


def _fingerprint(told: RunTold, folder: Path) -> str:
    written = {path.relative_to(folder).as_posix(): sha256_of(path) for path in _files_in(folder)}
    plain = {name: value for name, value in msgspec.to_builtins(told).items() if name != "files"}
    plain["tags"].pop("mlflow.user")  # whoever tells it again
    return fingerprint({"told": plain, "files": written})


def _files_in(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _tell(tracker: Tracker, held: "Run", told: RunTold, folder: Path, bundle: Path | None) -> None:
    from mlflow.entities import Metric, Param, RunTag

    client, run_id = tracker.client, held.info.run_id
    known = held.data.params  # can't be changed
    params = [Param(key, value) for key, value in told.params.items() if key not in known]
    metrics = [Metric(each.key, each.value, each.at_ms, each.step) for each in told.points]
    user = held.data.tags.get("mlflow.user")  # who told it first
    tags = told.tags | ({"mlflow.user": user} if user else {})
    for some in _batches(params, _MOST_PARAMS):
        client.log_batch(run_id, params=some)
    for few in _batches(metrics, _MOST_METRICS):
        client.log_batch(run_id, metrics=few)
    for each in _batches([RunTag(key, value) for key, value in tags.items()], _MOST_PARAMS):
        client.log_batch(run_id, tags=each)
    if told.dataset is not None:
        client.log_inputs(run_id, [_dataset(told.dataset)])
    client.log_artifacts(run_id, str(folder))
    if bundle is not None and not _is_here(held):
        named = files_of(bundle)
        for name in named:
            place = f"{BUNDLES}/{digest_over(named)}/{name}".rpartition("/")[0]
            client.log_artifact(run_id, str(bundle / name), place)


def _is_here(held: "Run") -> bool:
    """Whether the run's files are on this machine, where the registry has the bundle."""
    return urlsplit(str(held.info.artifact_uri)).scheme in ("", "file")


def _dataset(told: DatasetTold) -> "DatasetInput":
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(told.name, told.digest, "local", told.source, profile=told.profile)
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def _batches(items: Sequence[Item], most: int) -> Iterator[list[Item]]:
    left = iter(items)
    while batch := list(islice(left, most)):
        yield batch
