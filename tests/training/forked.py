"""Processes to kill or to interrupt, forked from one that has imported torch, which takes longer than they live."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from bintally.training.run import train
from tests.conftest import ROOT
from tests.training.conftest import tiny_recipe

_CONTEXT = multiprocessing.get_context("forkserver")
# What takes long, and starts no thread, which a fork would leave behind; polars does.
_CONTEXT.set_forkserver_preload(["pytest", "torch", "lightning.pytorch", "timm"])

if str(ROOT) not in sys.path:  # pytest finds the modules of tests without it, processes don't
    sys.path.append(str(ROOT))


def get_ready() -> None:
    """Has torch imported while something else is done."""
    forkserver.ensure_running()


def forked(work: Callable[..., object], *arguments: object, stderr: Path | None = None) -> ForkServerProcess:
    """A process that does `work(*arguments)`, a function of a module; Ctrl-C reaches it, as one started by hand."""
    child = _CONTEXT.Process(target=_work, args=(work, arguments, stderr))
    child.start()
    return child


def _work(work: Callable[..., object], arguments: tuple[object, ...], stderr: Path | None) -> None:
    if stderr is not None:
        with stderr.open("wb") as said:
            os.dup2(said.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    work(*arguments)


def train_tiny(data: Path, out: Path, sections: dict[str, Any]) -> None:
    """Trains `tiny_recipe(**sections)`."""
    train(recipe=tiny_recipe(**sections), data=data, out=out, threads=1)


def wait_for(path: Path, child: ForkServerProcess) -> None:
    """Until there is such a file."""
    deadline = time.monotonic() + 120
    while not path.exists() and child.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert path.exists(), f"the process ended with {child.exitcode}, or is slow"
