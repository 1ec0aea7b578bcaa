"""What being watched costs a training: steps with the profiler's rows and looks at the machine, and without, in turns.

    python benchmarks/profile_overhead.py [--backbone resnet18] [--px 96] [--batch 16] [--steps 40] [--rounds 6]

One Lightning training of `steps` steps each way a round, in this process, which way first changing from round to round;
ratios are taken within a round, of median steps, so that whatever else the machine does meets both. On a machine with
other work, go by the processor time. Besides, what the profiler's own code takes is counted by itself.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from msgspec import json
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from bintally.settings import cpu_count
from bintally.training.loop import IGNORED
from bintally.training.network import build_network
from bintally.training.profile.device_clock import host_seconds
from bintally.training.profile.settings import ProfileSettings
from bintally.training.profile.spans import Spans
from bintally.training.profile.system import Machine, SystemSampler
from bintally.training.profile.timing import StepTimer, with_totals
from bintally.training.recipe import NetworkSettings

GOAL = 0.01
TIMES = ("wall", "processor")


class Pixels(Dataset[tuple[Tensor, Tensor]]):
    """The same random batch, again and again."""

    def __init__(self, batch: int, px: int, steps: int) -> None:
        self._batch = torch.randint(0, 256, (batch, 3, px, px), dtype=torch.uint8), torch.randint(0, 7, (batch,))
        self._steps = steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self._batch


class Steps(pl.LightningModule):
    """Forward, backward and AdamW."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """The loss of a batch."""
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


class Clock(Callback):
    """When each step ended."""

    def __init__(self) -> None:
        self.at: list[tuple[float, float]] = []

    def on_train_batch_end(self, *asked: Any, **named: Any) -> None:
        """Looks at the clocks."""
        self.at.append((time.perf_counter(), time.process_time()))


def main() -> None:
    """Prints both ways' steps, their ratio, and what the profiler's own code takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--px", type=int, default=96)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--threads", type=int, default=cpu_count())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    network, _ = build_network(NetworkSettings(backbone=asked.backbone), 7, pretrained=False)
    print(f"{asked.backbone}, {asked.px} px, batches of {asked.batch}, {asked.threads} threads")
    rounds = []
    for number in range(asked.rounds + 1):
        found = {way: _median_step_s(asked, network, watched=way) for way in (number % 2 == 0, number % 2 == 1)}
        if number:  # the first warms up
            rounds.append(found)
            told = [
                f"{name} {1000 * found[False][i]:.1f} -> {1000 * found[True][i]:.1f} ms" for i, name in enumerate(TIMES)
            ]
            print(f"alone -> watched: {', '.join(told)}", flush=True)
    for i, name in enumerate(TIMES):
        more = [found[True][i] / found[False][i] - 1 for found in rounds]
        print(f"{name}: median {statistics.median(more):+.2%} ({min(more):+.2%} to {max(more):+.2%}), goal {GOAL:.0%}")
    _own_cost(1000 * statistics.median(found[False][1] for found in rounds))


def _median_step_s(asked: argparse.Namespace, network: nn.Module, *, watched: bool) -> tuple[float, ...]:
    """Median step, in each of `TIMES`."""
    clock = Clock()
    every_s = ProfileSettings().system_s
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        for text in IGNORED:
            warnings.filterwarnings("ignore", message=f".*{text}")
        sampler = SystemSampler(Path(scratch), every_s=every_s) if watched else None
        if sampler is not None:
            sampler.start()
        trainer = pl.Trainer(
            max_epochs=1,
            callbacks=[clock, *([StepTimer(Path(scratch))] if watched else [])],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Steps(network), DataLoader(Pixels(asked.batch, asked.px, asked.steps), batch_size=None))
        if sampler is not None:
            sampler.stop()
    return tuple(
        statistics.median(end - start for start, end in pairwise(times)) for times in zip(*clock.at, strict=True)
    )


def _own_cost(step_ms: float) -> None:
    """Processor time of a look at the machine, and of the names of a step, by themselves."""
    machine, looks = Machine(), 200
    machine.look()
    started = time.thread_time()
    for _ in range(looks):
        machine.look()
    look_ms = 1000 * (time.thread_time() - started) / looks
    spans, steps, hooks = Spans(lambda: None, ours=frozenset({"Keeper"})), 2000, 50
    actions = [f"[Callback]C{i}.on_train_batch_end" for i in range(hooks)]
    started = time.thread_time()
    for _ in range(steps):
        spans.start("[_TrainingEpochLoop].train_dataloader_next")
        json.encode(with_totals(host_seconds(spans.take()[0])))
        spans.stop("[_TrainingEpochLoop].train_dataloader_next")
        for action in actions:
            spans.start(action)
            spans.stop(action)
    names_ms = 1000 * (time.thread_time() - started) / steps
    looks_share = look_ms / 1000 / ProfileSettings().system_s
    print(f"a look at the machine {look_ms:.2f} ms, {looks_share:.2%} of a core with one every half second")
    print(f"{hooks} hooks a step {names_ms:.3f} ms, {names_ms / step_ms:.2%} of a step of {step_ms:.0f} ms")


if __name__ == "__main__":
    main()
