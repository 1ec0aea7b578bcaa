"""The `train` verb: recipe + split data -> a run folder.

```
RUN/recipe.json          the recipe, complete
RUN/run.json             the report below: what came out, from which photos
RUN/model.safetensors    the best epoch's weights
RUN/predictions.parquet  what that epoch said of val, one row a photo
RUN/curves.svg           loss and accuracy
RUN/log/                 each step's time and loss, the machine under it: `run_log`
RUN/checkpoints/         last state (to resume), best weights so far
```
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import torch
from lightning.pytorch.callbacks import Callback
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from bintally.artifacts import storage_errors, write_bytes, write_json
from bintally.config import Config
from bintally.errors import CheckpointError, TrainingError, UsageError
from bintally.progress import SILENT, Progress
from bintally.settings import cpu_count
from bintally.training import ranks
from bintally.training.allocator import keep_freed_memory
from bintally.training.curves import draw_curves
from bintally.training.dataset import labels_of, loader, plain_batches
from bintally.training.diagnose.callback import Diagnose
from bintally.training.features import folded_head
from bintally.training.feed import feed_of, module_of
from bintally.training.finished import RECIPE, RUN, TrainReport, read_run
from bintally.training.launch import Processes, as_one_of_several, launch
from bintally.training.loop import BEST, Keeper, fit
from bintally.training.network import WEIGHTS, CountNetwork, build_network, freeze, try_out
from bintally.training.on_ray import train_on_ray
from bintally.training.plan import Plan
from bintally.training.profile.attach import profiled
from bintally.training.profile.operators import PROFILE
from bintally.training.recipe import Recipe
from bintally.training.run_log import LOG
from bintally.training.teachers import Teachers
from bintally.training.told import write_told
from bintally.training.watch import LossWatch

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
    processes: Processes = Processes()
    profile: bool = Field(default=False, description="As the recipe's profile.operators.")


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
    callbacks: Sequence[Callback] = (),
    processes: Processes | Mapping[str, Any] | None = None,
    profile: bool = False,
) -> TrainReport:
    """Trains a recipe on a split data folder; a run that was killed goes on where it stopped.

    `callbacks` are Lightning's, called after our own; what they raise ends the training, and it can be resumed.
    `processes`: how many train together, e.g. {"devices": 2}, each on its part of every batch; callbacks can't reach
    them. A process that torchrun or Ray has started as one of several trains with those. `profile` records a few
    steps' operators.

    Raises:
        ConfigError: the recipe is wrong.
        TrainingError: no photo of a count, none to choose by, or the loss became NaN.
        BackboneError: unknown architecture, or its weights can't be had.
        CheckpointError: `out` holds another training's run, or its checkpoint is truncated.
    """
    resolved = recipe if isinstance(recipe, Recipe) else Recipe.read(recipe)
    values: dict[str, Any] = {"data": data, "out": out, "threads": threads, "seed": seed, "profile": profile}
    values |= {"fresh": fresh, "replace": replace, "processes": processes or Processes()}
    config = TrainConfig.of({"recipe": resolved, **values})
    if config.seed is not None:
        config = config.model_copy(update={"recipe": config.recipe.model_copy(update={"seed": config.seed})})
    if (config.processes.total > 1 or config.processes.on) and not ranks.started_together():
        if callbacks:
            raise UsageError("Callbacks can't be handed to other processes.", hint="Train with one process.")
        if config.processes.on:
            train_on_ray(_as_one_of_several, _absolute(config), config.processes, progress)
        else:
            launch("bintally.training.run", config, config.processes, progress)
        return read_run(config.out)[1]
    with ranks.joined():
        return _train(config, progress if ranks.is_first() else SILENT, callbacks)


def _train(config: TrainConfig, progress: Progress, callbacks: Sequence[Callback]) -> TrainReport:
    started = time.monotonic()
    torch.set_num_threads(config.threads or max(1, cpu_count() // ranks.local_devices()))
    keep_freed_memory()
    torch.manual_seed(config.recipe.seed)
    plan = Plan.of(config.recipe, config.data)
    _check_processes(config.recipe, plan)
    with ranks.first_alone():
        if ranks.is_first():
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
    watch = LossWatch()
    with profiled(config.out, config.recipe, watch, started=started, operators=config.profile) as profilers:
        callbacks = (*profilers, Diagnose(config.recipe.diagnose, config.out, progress), *callbacks)
        keeper, resumed_at, epoch_steps = _fit(plan, network, teachers, config.out, progress, callbacks, watch)
    fitted_s = time.monotonic() - fit_started
    _best_into(network, config)
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
    if ranks.is_first():
        _write(report, network, config, plan)
    ranks.wait()  # all return when it is written
    return report


def _write(report: TrainReport, network: CountNetwork, config: TrainConfig, plan: Plan) -> None:
    """The finished run, its report last; its recipe is there since `_claim`."""
    write_told(plan, config.out / CHECKPOINTS, config.out)
    write_bytes(config.out / WEIGHTS, save(_state(network)))
    draw_curves(
        report.history,
        best_epoch=int(report.best["epoch"]),
        blind_accuracy=report.blind_accuracy,
        target=config.out / "curves.svg",
    )
    write_bytes(config.out / RUN, msgspec.json.format(msgspec.json.encode(report), indent=2))


def _check_processes(recipe: Recipe, plan: Plan) -> None:
    """Whether the processes that are there can share this recipe's batches."""
    together = ranks.world()
    if together == 1:
        return
    if recipe.network.tells:
        raise TrainingError(
            "Recipes with network.tells learn from whole bins, and a bin can't be shared by processes.",
            hint="Train with one process.",
        )
    if recipe.loop.cuda_graph:
        raise TrainingError("loop.cuda_graph replays one process's steps.", hint="Set it to false to train with more.")
    if recipe.loop.batch_size % together:
        raise TrainingError(
            f"Batches of {recipe.loop.batch_size} can't be shared evenly by {together} processes.",
            hint="loop.batch_size counts the photos of all processes together: choose a multiple of their number.",
        )
    if min(plan.train.height, plan.val.height) < together:
        raise TrainingError(f"There are fewer photos than processes ({together}).", hint="Train with fewer processes.")


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
    if (config.fresh and not ranks.started_again()) or held != plan.identity() or (config.replace and finished):
        (config.out / RUN).unlink(missing_ok=True)  # or a kill would leave an old report beside new weights
        for folder in (checkpoints, config.out / LOG, config.out / PROFILE):
            shutil.rmtree(folder, ignore_errors=True)
    with storage_errors(checkpoints):
        checkpoints.mkdir(parents=True, exist_ok=True)
    write_json(config.out / RECIPE, config.recipe.model_dump(mode="json"))  # for who looks at a run under way
    write_bytes(mark, plan.identity().encode())


def _fit(
    plan: Plan,
    network: CountNetwork,
    teachers: Teachers | None,
    out: Path,
    progress: Progress,
    callbacks: Sequence[Callback],
    watch: LossWatch,
) -> tuple[Keeper, int, int]:
    """Trains; returns what was kept, the step it resumed from, and the steps of an epoch."""
    recipe = plan.recipe
    with ranks.first_alone():  # what is cached is cached once
        feed = feed_of(plan, network, progress)
    module = module_of(plan, network, feed, teachers, average=recipe.loop.average)
    total = recipe.loop.epochs * len(feed.batches) * recipe.loop.batch_size
    with progress.task("train", total=total, unit="photos") as task:
        keeper, resumed_at = fit(
            module,
            train=loader(feed.train, feed.batches, workers=recipe.loop.workers),
            batches=feed.batches,
            val=loader(feed.val, plain_batches(len(feed.val), VAL_BATCH)),
            folder=out / CHECKPOINTS,
            settings=recipe.loop,
            clip_norm=recipe.optimizer.clip_norm,
            progress=progress,
            task=task,
            callbacks=callbacks,
            watch=watch,
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


def _absolute(config: TrainConfig) -> TrainConfig:
    """The same for a process that works somewhere else."""
    return config.model_copy(update={"data": config.data.resolve(), "out": config.out.resolve()})


def _as_one_of_several(values: dict[str, Any], progress: Progress) -> None:
    config = TrainConfig.of(values)
    with ranks.joined():
        _train(config, progress if ranks.is_first() else SILENT, ())


if __name__ == "__main__":
    as_one_of_several(_as_one_of_several)
