"""The `train` verb: recipe + split data -> a run folder.

```
RUN/recipe.json          the recipe, complete
RUN/run.json             the report below: what came out, from which photos
RUN/model.safetensors    the best epoch's weights
RUN/curves.svg           loss and accuracy
RUN/checkpoints/         last state (to resume), best weights so far
```
"""

import shutil
import time
from pathlib import Path
from typing import Final

import msgspec
import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from bintally.artifacts import storage_errors, write_bytes, write_json
from bintally.config import Config
from bintally.errors import CheckpointError
from bintally.progress import SILENT, Progress
from bintally.settings import cpu_count
from bintally.training.allocator import keep_freed_memory
from bintally.training.curves import draw_curves
from bintally.training.dataset import labels_of, loader, plain_batches
from bintally.training.features import folded_head
from bintally.training.feed import feed_of
from bintally.training.finished import RECIPE, RUN, TrainReport
from bintally.training.loop import BEST, Keeper, fit
from bintally.training.module import CountModule
from bintally.training.network import WEIGHTS, CountNetwork, build_network, freeze, try_out
from bintally.training.plan import Plan
from bintally.training.recipe import Recipe
from bintally.training.teachers import Teachers

CHECKPOINTS: Final = "checkpoints"
VAL_BATCH: Final = 64


class TrainConfig(Config):
    """What `train` is asked for."""

    recipe: Recipe
    data: Path = Field(description="A data folder with a split.")
    out: Path = Field(description="The run folder.")
    threads: int | None = Field(default=None, ge=1, description="CPU threads; default: all there are.")
    seed: int | None = Field(default=None, ge=0, description="Takes the place of the recipe's seed.")
    fresh: bool = Field(default=False, description="Start again, whatever OUT holds.")
    replace: bool = Field(
        default=False, description="Any finished or other run in OUT makes room; a killed one goes on."
    )


def train(
    *,
    recipe: Recipe | Path,
    data: Path,
    out: Path,
    threads: int | None = None,
    seed: int | None = None,
    fresh: bool = False,
    replace: bool = False,
    progress: Progress = SILENT,
) -> TrainReport:
    """Trains a recipe on a split data folder; a run that was killed goes on where it stopped.

    Raises:
        ConfigError: the recipe is wrong.
        TrainingError: no photo of a count, none to choose by, or the loss became NaN.
        BackboneError: unknown architecture, or its weights can't be had.
        CheckpointError: `out` holds another training's run, or its checkpoint is truncated.
    """
    resolved = recipe if isinstance(recipe, Recipe) else Recipe.read(recipe)
    values = {"data": data, "out": out, "threads": threads, "seed": seed, "fresh": fresh, "replace": replace}
    config = TrainConfig.of({"recipe": resolved, **values})
    if config.seed is not None:
        config = config.model_copy(update={"recipe": config.recipe.model_copy(update={"seed": config.seed})})
    return _train(config, progress)


def _train(config: TrainConfig, progress: Progress) -> TrainReport:
    started = time.monotonic()
    torch.set_num_threads(config.threads or cpu_count())
    keep_freed_memory()
    torch.manual_seed(config.recipe.seed)
    plan = Plan.of(config.recipe, config.data)
    _claim(config, plan)
    resuming = any((config.out / CHECKPOINTS).iterdir())
    network, origin = build_network(config.recipe.network, len(plan.keys))
    try_out(network, config.recipe.input.px)
    teachers = plan.teachers()
    freeze(network, config.recipe.network.tune)
    network = network.to(memory_format=torch.channels_last)
    progress.say(
        f"{config.recipe.network.backbone} ({origin}), {plan.train.height:,} photos to learn from, "
        f"{plan.val.height:,} to choose by{', resuming' if resuming else ''}"
    )
    fit_started = time.monotonic()
    keeper, resumed_at, epoch_steps = _fit(plan, network, teachers, config.out / CHECKPOINTS, progress)
    fitted_s = time.monotonic() - fit_started
    _best_into(network, config)
    write_bytes(config.out / WEIGHTS, save(_state(network)))
    epochs_done = len(keeper.history)
    report = TrainReport(
        recipe=config.recipe.name,
        run=str(config.out),
        identity=plan.identity(),
        dataset=plan.dataset,
        weights=origin,
        keys=plan.keys,
        values=dict(zip(plan.keys, plan.values_k.tolist(), strict=True)),
        train_prior=dict(zip(plan.keys, plan.train_prior_k.tolist(), strict=True)),
        target_prior=dict(zip(plan.keys, plan.target_prior_k.tolist(), strict=True)),
        train_photos=plan.train.height,
        val_photos=plan.val.height,
        best=keeper.best,
        blind_accuracy=_blind_accuracy(plan),
        history=keeper.history,
        resumed_at_step=resumed_at,
        stopped_early=epochs_done < config.recipe.loop.epochs,
        seconds=time.monotonic() - started,
        photos_per_s=(epochs_done * epoch_steps - resumed_at) * config.recipe.loop.batch_size / fitted_s,
    )
    draw_curves(
        report.history,
        best_epoch=int(report.best["epoch"]),
        blind_accuracy=report.blind_accuracy,
        target=config.out / "curves.svg",
    )
    write_json(config.out / RECIPE, config.recipe.model_dump(mode="json"))
    write_bytes(config.out / RUN, msgspec.json.format(msgspec.json.encode(report), indent=2))
    return report


def _claim(config: TrainConfig, plan: Plan) -> None:
    """Makes `out` this training's folder, or sees that it already is: resuming another one's weights would be a lie."""
    checkpoints, mark = config.out / CHECKPOINTS, config.out / "identity"
    held = mark.read_text() if mark.is_file() else None
    if held not in (None, plan.identity()) and not (config.fresh or config.replace):
        raise CheckpointError(
            f"{config.out} holds a run of another recipe or of other photos.",
            hint="Choose another --out, or start again with --fresh.",
        )
    finished = (config.out / RUN).is_file()
    if config.fresh or held != plan.identity() or (config.replace and finished):
        (config.out / RUN).unlink(missing_ok=True)  # or a kill would leave an old report beside new weights
        shutil.rmtree(checkpoints, ignore_errors=True)
    with storage_errors(checkpoints):
        checkpoints.mkdir(parents=True, exist_ok=True)
    write_bytes(mark, plan.identity().encode())


def _fit(
    plan: Plan, network: CountNetwork, teachers: Teachers | None, folder: Path, progress: Progress
) -> tuple[Keeper, int, int]:
    """Trains; returns what was kept, the step it resumed from, and the steps of an epoch."""
    recipe = plan.recipe
    feed = feed_of(plan, network, progress)
    module = CountModule(
        feed.learning,
        network.heads(),
        plan.loss(),
        plan.target,
        recipe.optimizer,
        steps=recipe.loop.epochs * len(feed.batches),
        frozen=list(feed.frozen),
        average=recipe.loop.average,
        teachers=teachers,
        replayed=feed.train[0, [0] * recipe.loop.batch_size][0] if recipe.loop.cuda_graph else None,
        beside=feed.beside,
    )
    total = recipe.loop.epochs * len(feed.batches) * recipe.loop.batch_size
    with progress.task("train", total=total, unit="photos") as task:
        keeper, resumed_at = fit(
            module,
            train=loader(feed.train, feed.batches, workers=recipe.loop.workers),
            batches=feed.batches,
            val=loader(feed.val, plain_batches(len(feed.val), VAL_BATCH)),
            folder=folder,
            settings=recipe.loop,
            clip_norm=recipe.optimizer.clip_norm,
            progress=progress,
            task=task,
        )
    return keeper, resumed_at, len(feed.batches)


def _best_into(network: CountNetwork, config: TrainConfig) -> None:
    """The kept epoch's weights into the whole network; a frozen backbone has only its head to take back."""
    best = config.out / CHECKPOINTS / BEST
    try:
        state = load_file(best)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{best} is missing or not whole: {error}.", hint="Start again with --fresh.") from error
    if config.recipe.network.tune == "head":
        network.head().load_state_dict(folded_head(state))
    else:
        network.load_state_dict(state)


def _state(network: CountNetwork) -> dict[str, torch.Tensor]:
    return {name: value.contiguous() for name, value in network.weights().items()}


def _blind_accuracy(plan: Plan) -> float:
    """Accuracy on val of always answering train's commonest count, among those asked about."""
    asked_k = plan.target.asked_k
    labels_n = labels_of(plan.val, plan.keys)
    labels_n = labels_n[asked_k[labels_n]]
    commonest = max(range(len(plan.keys)), key=lambda k: plan.train_prior_k[k] * asked_k[k])
    return float((labels_n == commonest).mean()) if len(labels_n) else 0.0
