"""A training's profiler: what watches it, and what the watchers need."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning.pytorch.callbacks import Callback

from bintally.training import ranks
from bintally.training.profile.machine import environment, write_environment
from bintally.training.profile.operators import OperatorRecorder
from bintally.training.profile.system import SystemSampler
from bintally.training.profile.timing import StepTimer
from bintally.training.recipe import Recipe
from bintally.training.watch import LossWatch


@contextmanager
def profiled(
    run: Path, recipe: Recipe, watch: LossWatch, *, started: float, operators: bool = False
) -> Iterator[list[Callback]]:
    """The callbacks that write `run`'s log as `recipe.profile` asks; the machine is watched until the block ends.

    `started`: when the session began, by `time.monotonic()`. Of several processes, the first one writes.
    """
    settings = recipe.profile
    if not ranks.is_first():
        yield []
        return
    here = environment(
        started_at=time.time() - (time.monotonic() - started),
        threads=torch.get_num_threads(),
        loader_processes=recipe.loop.workers,
        processes=ranks.world(),
    )
    write_environment(run, here)
    callbacks: list[Callback] = []
    if settings.steps:
        callbacks.append(StepTimer(run, watch=watch))
    if settings.operators or operators:
        callbacks.append(OperatorRecorder(run))
    sampler = SystemSampler(run, every_s=settings.system_s) if settings.system_s else None
    if sampler is not None:
        sampler.start()
    try:
        yield callbacks
    finally:
        if sampler is not None:
            sampler.stop()
