"""The `export` verb: run + split data -> bundle. What it says was checked, on real photos, before it is written."""

import hashlib
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field

from bintally import __version__
from bintally.artifacts import atomic_folder, write_bytes
from bintally.bundle import CARD, MODEL, SCHEMA_VERSION, Card, SplitMetrics, card_json
from bintally.config import Config
from bintally.counting.counter import Counter
from bintally.counting.evaluate import evaluate
from bintally.counting.report import summary
from bintally.errors import ManifestError, ModelError, UsageError
from bintally.manifest import SPLIT, Manifest
from bintally.progress import SILENT, Progress
from bintally.settings import cpu_count
from bintally.training.cache import PhotoCache
from bintally.training.calibrate import Calibration, Photos, calibrate, refitted
from bintally.training.dataset import labels_of
from bintally.training.export_beside import fit_beside, with_beside, write_graph
from bintally.training.finished import TrainReport, read_run
from bintally.training.network import WEIGHTS, build_network, load_weights, read_weights
from bintally.training.onnx_file import onnx_bytes, onnx_graph
from bintally.training.plan import target_prior
from bintally.training.recipe import ExportSettings, Recipe
from bintally.training.servable import Member, Servable

FAMILIAR_PHOTOS: Final = 1000
"""Training photos that say what a bin looks like; the estimate hardly moves beyond."""

CHECKED_PHOTOS: Final = 32
CALIBRATION_PHOTOS: Final = 256
"""Training photos that show INT8 arithmetic which values occur."""


class ExportConfig(Config):
    """What to export from where to where."""

    run: Path = Field(description="A finished run.")
    data: Path = Field(description="The split data folder it was trained on.")
    out: Path = Field(description="The bundle's folder.")
    recipe: Recipe | None = Field(
        default=None, description="Takes the place of the run's own recipe in what export and evaluation decide."
    )
    name: str | None = Field(default=None, description="The model's name; default: the recipe's, with the date.")
    threads: int | None = Field(default=None, ge=1, description="CPU threads; default: all there are.")


class ExportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was exported; differences are those of a probability to torch's float32, on real photos."""

    bundle: str
    name: str
    bytes: int
    temperature: float
    set_threshold: float
    novelty_threshold: float
    checked_photos: int
    max_difference: float
    mean_difference: float
    accepted_difference: float
    val: SplitMetrics
    seconds: float


def export(
    *,
    run: Path,
    data: Path,
    out: Path,
    recipe: Recipe | Path | None = None,
    name: str | None = None,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> ExportReport:
    """Turns a run into a bundle: fits temperature, sets and novelty on val, writes one graph, checks it against torch.

    Raises:
        CheckpointError: `run` is no finished run.
        ManifestError: `data` has no split, or another one than the run was trained on.
        ModelError: the network can't be written as a graph, or the graph does not say what torch says.
        UsageError: `out` holds something else than a bundle.
    """
    given = Recipe.read(recipe) if isinstance(recipe, Path) else recipe
    values = {"run": run, "data": data, "out": out.resolve(), "recipe": given, "name": name, "threads": threads}
    config = ExportConfig.of(values)
    return _export(config, progress)


def _export(config: ExportConfig, progress: Progress) -> ExportReport:
    started = time.monotonic()
    torch.set_num_threads(config.threads or cpu_count())
    _check_place(config.out)
    recipe, report, manifest = _read(config)
    train, val = (
        Photos(table, PhotoCache.build(config.data, table, px=recipe.export.px or recipe.input.px, progress=progress))
        for table in (
            _familiar_photos(manifest.usable("train", counts=report.keys), recipe.seed),
            manifest.usable("val", counts=report.keys),
        )
    )
    report = msgspec.structs.replace(report, target_prior=_target_prior(recipe, report, val.table))
    # The first sees photos as the bundle does, even if larger than in training; the others at the size they know.
    first = replace(_member(config.run, report), px=None)
    members = [first, *(_member(run, report) for run in recipe.export.ensemble)]
    fitted = calibrate(members, recipe, train, val, progress)
    servable = Servable(
        members,
        temperature=fitted.temperature,
        flip=recipe.export.flip_averaging,
        familiar=fitted.familiar,
    ).eval()
    checked = val.cache.read(np.arange(min(CHECKED_PHOTOS, len(val.cache))))
    model = _model(servable, checked, train.cache, recipe.export, progress)
    card = _card(config, recipe, report, fitted, model)
    beside = first if recipe.export.beside is None else _member(recipe.export.beside, report)
    with atomic_folder(config.out) as part:
        write_graph(part, MODEL, model, recipe.export)
        seen_in_training = manifest.usable("train", counts=report.keys)
        card = with_beside(card, part, beside, recipe, config.data, seen_in_training, checked)
        (part / CARD).write_bytes(card_json(card))
        differences = _differences(part, servable, checked, _accepted(recipe.export))
        if "int8" in (recipe.export.compute, recipe.export.store):
            fitted = refitted(fitted, part, val, recipe.export)
            card = msgspec.structs.replace(
                card, set_threshold=fitted.set_threshold, novelty_threshold=fitted.novelty_threshold
            )
        card = fit_beside(card, part, recipe, config.data, val)
        write_bytes(part / CARD, card_json(card))
        metrics = _judged_on_val(part, config.data, recipe, progress)
        write_bytes(part / CARD, card_json(msgspec.structs.replace(card, metrics={"val": metrics})))
    return ExportReport(
        bundle=str(config.out),
        name=card.name,
        bytes=len(model),
        temperature=fitted.temperature,
        set_threshold=fitted.set_threshold,
        novelty_threshold=fitted.novelty_threshold,
        checked_photos=len(checked),
        max_difference=float(differences.max()),
        mean_difference=float(differences.mean()),
        accepted_difference=_accepted(recipe.export),
        val=metrics,
        seconds=time.monotonic() - started,
    )


def _read(config: ExportConfig) -> tuple[Recipe, TrainReport, Manifest]:
    """The run, as the config wants it exported, and the photos it was trained on."""
    recipe, report = read_run(config.run)
    if config.recipe is not None:
        of_export = {name: getattr(config.recipe, name) for name in ("name", "export", "evaluate")}
        recipe = recipe.model_copy(update=of_export)
    manifest = Manifest.read(config.data, SPLIT)
    if manifest.fingerprint() != report.dataset:
        raise ManifestError(
            f"{config.data} holds another split than {config.run} was trained on.",
            hint="Name that data folder, or train again: val must not hold photos that were trained on.",
        )
    return recipe, report, manifest


def _member(folder: Path, exported: TrainReport) -> Member:
    """The network of one run of an ensemble, for the mix of counts that `exported` is to answer for.

    Raises:
        ModelError: it was trained on other photos, or on other counts.
        CheckpointError, BackboneError: no finished run, or not whole.
    """
    recipe, report = read_run(folder)
    if (report.dataset, report.keys) != (exported.dataset, exported.keys):
        raise ModelError(
            f"{folder} was trained on other photos or counts than {exported.run}.",
            hint="export.ensemble wants runs on one data folder with one `counts`: else val is no judge of them.",
        )
    network, _ = build_network(recipe.network, len(report.keys), pretrained=False)
    load_weights(network, read_weights(folder / WEIGHTS), str(folder / WEIGHTS), strict=True)
    ratio_k = torch.tensor([exported.target_prior[key] / report.train_prior[key] for key in report.keys])
    return Member(network.to(memory_format=torch.channels_last).eval(), ratio_k, recipe.input.px)


def _familiar_photos(train: pl.DataFrame, seed: int) -> pl.DataFrame:
    return train.sample(min(FAMILIAR_PHOTOS, train.height), seed=seed).sort("bin_image_id")


def _check_place(out: Path) -> None:
    """A bundle takes the place of an older one, and of nothing else."""
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / CARD).is_file()):
        raise UsageError(f"{out} holds something else than a bundle.", hint="Choose an empty or a new --out.")


def _target_prior(recipe: Recipe, report: TrainReport, val: pl.DataFrame) -> dict[str, float]:
    train_prior_k = np.array([report.train_prior[key] for key in report.keys])
    prior_k = target_prior(recipe.export.prior, labels_of(val, report.keys), train_prior_k)
    return dict(zip(report.keys, prior_k.tolist(), strict=True))


def _model(
    servable: Servable,
    checked_nhwc: NDArray[np.uint8],
    seen_in_training: PhotoCache,
    settings: ExportSettings,
    progress: Progress,
) -> bytes:
    """The graph as a file, with INT8 arithmetic where that is asked for."""
    try:
        with progress.task("export", total=1, unit="graph") as task:
            # Two photos, even of one: a batch of one would be taken for the only size there is.
            photos = torch.from_numpy(checked_nhwc[[0, -1]])
            graph = onnx_graph(servable, photos, fold_norms=settings.compute == "int8")
            task.advance()
        if settings.compute == "int8":
            from bintally.training.quantize import quantized

            rows = np.linspace(0, len(seen_in_training) - 1, CALIBRATION_PHOTOS).astype(int)
            graph = quantized(graph, seen_in_training.read(np.unique(rows)), progress=progress)
        return onnx_bytes(graph, store=settings.store)
    except Exception as error:  # torch.export and the converters raise dozens of kinds of their own
        raise ModelError(
            f"This network can't be written as an ONNX graph: {type(error).__name__}: {str(error).splitlines()[0]}",
            hint="Choose another network.backbone; densenet, resnet, convnext and efficientnet can be.",
        ) from error


def _accepted(settings: ExportSettings) -> float:
    """Largest accepted difference of a probability between torch and the bundle; a wrong graph does not stay below.

    float16 storage and another order of summing explain 0.01. Weights stored as int8 moved one of DenseNet-169's by
    0.04 (40 photos), INT8 arithmetic one of a ResNet-50 cut after stage 3 by 0.09 (200 photos); both 0.003 to 0.005 on
    average. What that costs in accuracy is in the card, whose figures are measured on the bundle itself.
    """
    if settings.compute == "int8":
        return 0.25
    return 0.1 if settings.store == "int8" else 0.02


def _differences(
    bundle: Path, servable: Servable, pixels_nhwc: NDArray[np.uint8], accepted: float
) -> NDArray[np.float32]:
    """Differences of probabilities [N, K] between the bundle, through the path that serves, and torch."""
    served_nk, _ = Counter(bundle).distribution(pixels_nhwc)
    with torch.inference_mode():
        wanted_nk = servable(torch.from_numpy(pixels_nhwc))[0].numpy()
    differences_nk: NDArray[np.float32] = np.abs(served_nk - wanted_nk)
    if not differences_nk.max() <= accepted:
        raise ModelError(
            f"The exported graph and torch differ by {differences_nk.max():.3f} in a probability (at most {accepted}).",
            hint="Nothing was written. Try another backbone, or report this with the recipe; "
            "where export.store or export.compute is int8, a finer one.",
        )
    return differences_nk


def _judged_on_val(bundle: Path, data: Path, recipe: Recipe, progress: Progress) -> SplitMetrics:
    with tempfile.TemporaryDirectory() as scratch:
        return summary(
            evaluate(
                bundle=bundle,
                data=data,
                out=Path(scratch),
                split="val",
                counts=recipe.evaluate.counts,
                gallery=0,
                progress=progress,
            )
        )


def _card(config: ExportConfig, recipe: Recipe, report: TrainReport, fitted: Calibration, model: bytes) -> Card:
    now = datetime.now(UTC)
    return Card(
        schema_version=SCHEMA_VERSION,
        name=config.name or f"{recipe.name}-{now:%Y%m%d}",
        created=now.isoformat(timespec="seconds"),
        height_px=recipe.export.px or recipe.input.px,
        width_px=recipe.export.px or recipe.input.px,
        count_keys=report.keys,
        count_values=report.values,
        temperature=fitted.temperature,
        train_prior=report.train_prior,
        target_prior=report.target_prior,
        flip_averaging=recipe.export.flip_averaging,
        set_coverage=recipe.export.set_coverage,
        set_threshold=fitted.set_threshold,
        novelty_threshold=fitted.novelty_threshold,
        metrics={},
        dataset={
            "fingerprint": report.dataset,
            "train_photos": report.train_photos,
            "val_photos": report.val_photos,
            "weights": report.weights,
        },
        recipe=_portable(recipe).model_dump(mode="json"),
        code_version=__version__,
        licence=recipe.export.licence,
        model_sha256=hashlib.sha256(model).hexdigest(),
        model_bytes=len(model),
    )


def _portable(recipe: Recipe) -> Recipe:
    """The recipe without this machine's folders.

    Weights go by their files' names, as $BINTALLY_WEIGHTS finds them; runs and bundles by their paths' last two parts.
    """
    network, teacher, settings = recipe.network, recipe.teacher, recipe.export
    start = network.start and _last_parts(network.start)
    weights = tuple(Path(entry).name for entry in network.weights)
    return recipe.model_copy(
        update={
            "network": network.model_copy(update={"weights": weights, "start": start}),
            "teacher": teacher.model_copy(update={"runs": tuple(map(_last_parts, teacher.runs))}),
            "export": settings.model_copy(
                update={
                    "ensemble": tuple(map(_last_parts, settings.ensemble)),
                    "beside": settings.beside and _last_parts(settings.beside),
                }
            ),
        }
    )


def _last_parts(path: Path) -> Path:
    return Path(*path.resolve().parts[-2:])
