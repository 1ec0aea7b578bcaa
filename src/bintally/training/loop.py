"""The Lightning trainer as we use it: our progress, our checkpoints, exact resume."""

import io
import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, cast

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from safetensors.torch import save

from bintally.artifacts import write_bytes
from bintally.errors import CheckpointError, TrainingError
from bintally.progress import Progress, Task
from bintally.training import ranks
from bintally.training.module import CountModule
from bintally.training.recipe import LoopSettings
from bintally.training.told import keep_told
from bintally.training.watch import LossWatch

LAST: Final = "last.ckpt"
BEST: Final = "best.safetensors"
OF_COUNTS: Final = ("accuracy", "log_loss", "rmse")
HIGHER_IS_BETTER: Final = frozenset({"accuracy"})

_CLOCK_STEPS: Final = 10  # processes that train together agree on the time so often


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints appear whole or not at all, and are read without unpickling code."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Writes `checkpoint` over `path`."""
        buffer = io.BytesIO()  # torch turns a full disk into an error of its own
        torch.save(checkpoint, buffer)
        write_bytes(Path(path), buffer.getvalue())

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        """Reads a checkpoint, tensors and plain values only."""
        return read_checkpoint(Path(path))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of ours.

    Raises:
        CheckpointError: it is truncated or no checkpoint.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError, KeyError ... for a torn file
        raise CheckpointError(
            f"{path} is no whole checkpoint.", hint="Delete it to train from the start, or put back a copy of it."
        ) from error
    return checkpoint


class Resumable(Protocol):
    """Batches that can go on after those of an earlier, killed run."""

    def start_at(self, step: int) -> None:
        """Goes on after `step` batches since the start of the training."""


class Keeper(Callback):
    """Keeps the last state (for resuming) and the best weights (for exporting), and writes the run's history."""

    def __init__(self, folder: Path, settings: LoopSettings, watch: LossWatch) -> None:
        self._folder, self._settings = folder, settings
        self._sign = 1 if settings.monitor in HIGHER_IS_BETTER else -1
        self._saved_at = time.monotonic()
        self._epoch_started = time.monotonic()
        self._watch = watch
        self.best: dict[str, float] = {}
        self.history: list[dict[str, float]] = []
        self.stopped = False  # early: there is nothing left to resume

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must remember, torch's random state included (dropout draws from it)."""
        return {
            "best": self.best,
            "history": self.history,
            "losses": self._watch.epoch,
            "stopped": self.stopped,
            "rng": ranks.gathered(torch.get_rng_state()),
            "cuda_rng": ranks.gathered(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up where `state_dict` was saved."""
        self.best, self.history, self.stopped = state_dict["best"], state_dict["history"], state_dict["stopped"]
        self._watch.epoch = state_dict["losses"]
        self._rng, self._cuda_rng = state_dict["rng"], state_dict["cuda_rng"]  # by rank

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts the random state back: after everything that might have drawn from it."""
        if hasattr(self, "_rng") and len(self._rng) == ranks.world():  # else: as many as were never before
            torch.set_rng_state(self._rng[ranks.rank()])
            devices = self._cuda_rng[ranks.rank()]
            if torch.cuda.device_count() == len(devices) > 0:
                torch.cuda.set_rng_state_all(devices)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves the last state every `checkpoint_minutes`, but not between an epoch's last batch and its validation."""
        self._watch.add(trainer.global_step - 1, ranks.mean(outputs["loss"]))
        if batch_idx + 1 == trainer.num_training_batches:
            self._watch.settle()  # before val judges what may be nonsense
        elif self._save_is_due(trainer.global_step):
            self._save(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keeps this epoch's weights if they are the best so far, then the state."""
        if trainer.sanity_checking:
            return
        figures = {name: float(trainer.callback_metrics[name]) for name in OF_COUNTS}
        of_changes = (name for name in trainer.callback_metrics if name.startswith("change_"))
        figures |= {name: float(trainer.callback_metrics[name]) for name in of_changes}
        row = {
            "epoch": float(trainer.current_epoch + 1),
            "train_loss": sum(self._watch.epoch) / max(len(self._watch.epoch), 1),
            "seconds": time.monotonic() - self._epoch_started,
            **figures,
        }
        self.history.append(row)
        self._watch.epoch, self._epoch_started = [], time.monotonic()
        if self._settings.monitor not in figures:  # val has no two photos of one bin
            raise TrainingError(
                f"val tells nothing of {self._settings.monitor}.", hint="Choose another loop.monitor, or split again."
            )
        score = self._sign * figures[self._settings.monitor]
        if not self.best or score > self._sign * self.best[self._settings.monitor]:
            self.best = row
            module = cast(CountModule, pl_module)
            if not ranks.is_first():
                return
            weights = {name: value.contiguous() for name, value in module.judged.state_dict().items()}
            keep_told(self._folder, module.told_nk)
            write_bytes(self._folder / BEST, save(weights))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves the state once the epoch, its validation included, is over; and stops where nothing gets better.

        Lightning's EarlyStopping decides only after this hook, so that what is saved would not know of it.
        """
        waited = len(self.history) - int(self.best["epoch"])
        no_better = 0 < self._settings.patience <= waited
        self.stopped = trainer.should_stop = trainer.should_stop or no_better  # a rule may have asked for it
        self._save(trainer)

    def _save_is_due(self, step: int) -> bool:
        """Whether `checkpoint_minutes` have gone by: by the first process's clock, which is asked now and then."""
        if ranks.world() > 1 and step % _CLOCK_STEPS:
            return False
        return ranks.of_first(time.monotonic() - self._saved_at > 60 * self._settings.checkpoint_minutes)

    def _save(self, trainer: pl.Trainer) -> None:
        self._watch.settle()
        trainer.save_checkpoint(self._folder / LAST)
        self._saved_at = time.monotonic()


class Reporting(Callback):
    """Tells our `Progress` what Lightning does: steps and loss on the bar, a line for each epoch."""

    def __init__(self, progress: Progress, task: Task, watch: LossWatch, keeper: Keeper) -> None:
        self._progress, self._task, self._watch, self._keeper = progress, task, watch, keeper
        self._judged = ""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One more batch."""
        self._task.advance(len(batch[1]) * ranks.world())
        loss = "" if self._watch.smooth is None else f", loss {self._watch.smooth:.3f}"
        self._task.note(f"epoch {trainer.current_epoch + 1}{loss}{self._judged}")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """One more epoch."""
        row = self._keeper.history[-1]
        self._judged = f", val {row['accuracy']:.1%}"
        self._progress.say(
            f"  epoch {row['epoch']:.0f} of {trainer.max_epochs}: loss {row['train_loss']:.3f}; val log loss "
            f"{row['log_loss']:.3f}, right {row['accuracy']:.1%}"
            + (f", changes right {row['change_accuracy']:.1%}" if "change_accuracy" in row else "")
            + f" ({row['seconds']:.0f} s)"
        )


def fit(
    module: CountModule,
    *,
    train: Any,
    batches: Resumable,
    val: Any,
    folder: Path,
    settings: LoopSettings,
    clip_norm: float,
    progress: Progress,
    task: Task,
    callbacks: Sequence[Callback] = (),
    watch: LossWatch | None = None,
) -> tuple[Keeper, int]:
    """Trains until done or stopped early, going on from `folder`'s last checkpoint if there is one.

    `watch` fetches the losses, and tells them to whoever listens to it.

    Returns the keeper (history, best epoch) and the step it resumed from.

    Raises:
        CheckpointError: the last checkpoint is truncated.
        TrainingError: the loss became NaN.
    """
    watch = watch or LossWatch()
    keeper = Keeper(folder, settings, watch)
    ours = [keeper, Reporting(progress, task, watch, keeper)]  # in this order: figures first
    last = folder / LAST
    done = 0
    if last.is_file():
        checkpoint = read_checkpoint(last)
        done = int(checkpoint["global_step"])
        state = checkpoint["callbacks"][keeper.state_key]
        if state["stopped"]:
            keeper.load_state_dict(state)
            return keeper, done
    batches.start_at(done)
    task.advance(done * settings.batch_size)
    with _quiet():
        trainer = _trainer(settings, clip_norm, [*ours, *callbacks])
        try:
            trainer.fit(module, train, val, ckpt_path=last if last.is_file() else None, weights_only=True)
        except SystemExit:  # Lightning turns Ctrl-C into exit(1); the command line wants Ctrl-C
            raise KeyboardInterrupt from None
    return keeper, done


def _trainer(settings: LoopSettings, clip_norm: float, callbacks: list[Callback]) -> pl.Trainer:
    """Lightning's, without all that we do ourselves."""
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")  # TF32: what is left in float32 needs no more
    return pl.Trainer(
        max_epochs=settings.epochs,
        accelerator="auto",
        **_strategy(),
        precision="bf16-mixed" if uses_bf16(settings.precision) else "32-true",
        callbacks=callbacks,
        plugins=[AtomicCheckpoints()],
        gradient_clip_val=clip_norm or None,
        benchmark=torch.cuda.is_available(),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def _strategy() -> dict[str, Any]:
    """How Lightning is to work with the processes that are there."""
    if ranks.world() == 1:
        return {"devices": 1}
    devices = ranks.local_devices()
    # Whoever started the processes has told all of torchrun's variables.
    strategy = DDPStrategy(cluster_environment=TorchElasticEnvironment())
    return {"devices": devices, "num_nodes": ranks.world() // devices, "strategy": strategy}


def uses_bf16(precision: str) -> bool:
    """Whether to compute in bf16; 'auto': where the machine does so itself; emulated, it is slower than float32."""
    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # A private name; a torch without it computes in float32, which is only slower.
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


IGNORED: Final = (
    "does not have many workers",
    "num_workers",
    "GPU available but not used",
    "LeafSpec",  # a deprecation between Lightning and torch
    "in eval mode",  # frozen norms are, on purpose
    "It is recommended to use `self.log",  # val's figures are the same in all processes
    "not resumable",  # `EpochBatches` goes on where it was, without any state
    "multi-threaded, use of fork",  # Python 3.12: loader processes compute with one thread and never touch the GPU
)
"""Lightning's warnings that are for its own users or authors."""


@contextmanager
def _quiet() -> Iterator[None]:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        for text in IGNORED:
            warnings.filterwarnings("ignore", message=f".*{text}")
        yield
