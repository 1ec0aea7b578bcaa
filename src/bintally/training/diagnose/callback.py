"""The watcher as a Lightning callback: findings go to RUN/log/findings.jsonl and, a line each, to `Progress`."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import msgspec
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from bintally.artifacts import read_rows, write_bytes
from bintally.progress import Progress
from bintally.training.diagnose.finding import Finding
from bintally.training.diagnose.rules import select
from bintally.training.diagnose.seen import plain_loss
from bintally.training.diagnose.settings import DiagnoseSettings
from bintally.training.diagnose.watcher import Watcher
from bintally.training.module import CountModule
from bintally.training.network import CountNetwork
from bintally.training.run_log import FINDINGS, LOG, Stream


def read_findings(run: Path) -> list[Finding]:
    """What the rules found in a run, in the order in which they did."""
    return list(read_rows(run / LOG / FINDINGS, Finding))


class Diagnose(Callback):
    """Watches a `CountModule`. Never ends a training by an error of its own.

    Losses to compare train and val by are plain cross-entropies of logits and labels: the loss that is trained on may
    hold smoothed labels, class weights, teachers, pairs. Where several processes train, the first one watches.
    """

    def __init__(self, settings: DiagnoseSettings, run: Path, progress: Progress) -> None:
        """Raises ConfigError where the settings name no rule, or another run that is not there."""
        self._settings, self._progress = settings, progress
        self._path = run / LOG / FINDINGS
        self._rules = select(settings.rules, settings.parameters)
        self._inputs = any("inputs" in rule.looks_at for rule in self._rules)
        self._watcher: Watcher | None = None
        self._stream: Stream[Finding] | None = None
        self._handles: list[Any] = []
        self._answer: Tensor | None = None
        self._loss: Tensor | None = None
        self._judged: nn.Module | None = None
        self._told: set[tuple[str, str]] = set()
        self._said: tuple[str, int] | None = None

    @property
    def findings(self) -> list[Finding]:
        """What was found since this process began."""
        return self._watcher.findings if self._watcher is not None else []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begins to watch: only now, since kernels that are recorded (CUDA graphs) must know of no hooks."""
        if self._watcher is None and self._rules and trainer.is_global_zero:
            self._begin(trainer, pl_module)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Keeps the loss: if it ends the training, no later hook sees it."""
        self._loss = loss.detach()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One more step."""
        if self._watcher is None or self._loss is None:
            return
        loss, self._loss = self._loss, None
        if self._watcher.looking:
            inputs = _as_seen(pl_module, batch[0]) if self._inputs else None
            self._watcher.step(loss=loss, inputs=inputs, logits=self._logits(batch[1]), labels=batch[1])
        else:
            self._watcher.step(loss=loss)
        self._ask_to_stop(trainer)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """One more batch of val."""
        logits_nk = self._logits(batch[1])
        if self._watcher is not None and logits_nk is not None:
            loss = plain_loss(logits_nk, batch[1])
            self._watcher.step(loss=loss, mode="eval", logits=logits_nk, labels=batch[1])

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Judges the epoch; and all processes stop if the first one says so."""
        if self._watcher is not None:
            self._watcher.settle()
            self._ask_to_stop(trainer)
        if trainer.world_size > 1 and self._settings.action == "stop":
            asked = self._watcher is not None and self._watcher.should_stop
            trainer.should_stop = trainer.should_stop or trainer.strategy.reduce_boolean_decision(asked, all=False)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The training is over."""
        self._end(None)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Judges what led to it, the last loss included."""
        if self._watcher is not None and self._loss is not None:
            self._watcher.step(loss=self._loss)
        self._end(exception)

    def _begin(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Findings of steps that are now done over are forgotten; others are not said again."""
        earlier = [finding for finding in read_rows(self._path, Finding) if finding.step < trainer.global_step]
        self._told = {(finding.rule, finding.tensor) for finding in earlier}
        if self._path.exists():
            write_bytes(self._path, b"".join(msgspec.json.encode(finding) + b"\n" for finding in earlier))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch()  # watched, and nothing found yet
        network = module.network
        assert isinstance(network, nn.Module)  # noqa: S101 - CountModule's; Lightning types attributes loosely
        self._judged = module.judged if isinstance(module, CountModule) else network
        self._watcher = Watcher(
            network,
            trainer.optimizers[0],
            rules=self._rules,
            action=self._settings.action,
            every=self._settings.every,
            on_finding=self._write,
            on_trouble=self._progress.say,
            start=trainer.global_step,
        )
        for whole in (network, self._judged):
            for answering in (whole, whole.head()) if isinstance(whole, CountNetwork) else (whole,):
                self._handles.append(answering.register_forward_hook(self._keep))
        self._watcher.__enter__()

    def _end(self, error: BaseException | None) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._answer, self._loss = [], None, None
        if self._watcher is not None:
            self._watcher.__exit__(type(error) if error else None, error, None)
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _keep(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._answer = output.detach() if isinstance(output, Tensor) else None

    def _logits(self, labels: Tensor) -> Tensor | None:
        """The last answer, if it is one to this batch."""
        answer, self._answer = self._answer, None
        return answer if answer is not None and answer.ndim == 2 and len(answer) == len(labels) else None

    def _ask_to_stop(self, trainer: pl.Trainer) -> None:
        if self._watcher is not None and self._watcher.should_stop and trainer.world_size == 1:
            trainer.should_stop = True

    def _write(self, finding: Finding) -> None:
        if (finding.rule, finding.tensor) in self._told:
            self._told.discard((finding.rule, finding.tensor))
            return
        try:
            if self._stream is None:
                self._stream = Stream(self._path)
            self._stream.write(finding)
            self._stream.flush()  # a training that stalls or dies leaves it
        except OSError as error:
            self._progress.say(f"{self._path} can't be written: {error}.")
        if self._said != (finding.rule, finding.step):  # where a whole network is ill, one of its tensors will do
            self._progress.say(f"  {finding.rule} at step {finding.step}: {finding.message} {finding.advice}")
        self._said = finding.rule, finding.step


def _as_seen(module: pl.LightningModule, inputs: Tensor) -> Tensor:
    """Photos as the backbone sees them: the network normalises raw pixels itself."""
    network = module.network
    if isinstance(network, CountNetwork):
        with torch.no_grad():
            return (inputs.float() - network.mean_c11) / network.std_c11
    return inputs
