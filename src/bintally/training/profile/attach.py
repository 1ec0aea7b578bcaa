"""A training's profiler: what watches it, and what the watchers need."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from lightning.pytorch.callbacks import Callback

from bintally.training import ranks
from bintally.training.profile.machine import environment, write_environment
from bintally.training.profile.operators import OperatorRecorder
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
    with _machine_watched(run, every_s=settings.system_s):
        yield callbacks


@contextmanager
def _machine_watched(run: Path, *, every_s: float) -> Iterator[None]:
    """Looks at the machine meanwhile; not without psutil, which a training can do without."""
    if not every_s or find_spec("psutil") is None:
        yield
        return
    from bintally.training.profile.system import SystemSampler

    sampler = SystemSampler(run, every_s=every_s)
    sampler.start()
    try:
        yield
    finally:
        sampler.stop()
