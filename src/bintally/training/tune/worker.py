"""The process that trains trials: `python -m bintally.training.tune.worker`, started by `processes.ProcessRunner`.

It trains one spec after the other, since importing torch takes longer than a short trial. It never outlives its parent:
its stdin ends with it.
"""

import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import lightning.pytorch as pl
import msgspec
from lightning.pytorch.callbacks import Callback

from bintally.errors import BintallyError
from bintally.training.latency import forward_ms
from bintally.training.loop import Keeper
from bintally.training.recipe import Recipe
from bintally.training.run import train
from bintally.training.tune.messages import GO, End, Epoch, Message
from bintally.training.tune.trial import FORWARD_MS, TrialEnd, TrialSpec

Told = Callable[[Epoch], bool]


class PrunedError(Exception):
    """The parent wants no more epochs of this trial."""


class Telling(Callback):
    """Tells each epoch once its state is saved; those of an earlier, killed start first."""

    def __init__(self, tell: Told) -> None:
        self._tell = tell
        self.history: list[dict[str, float]] = []
        self.best: dict[str, float] = {}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ends the training where the parent says so, unless it is over anyway."""
        keeper = next(callback for callback in trainer.callbacks if isinstance(callback, Keeper))  # type: ignore[attr-defined]
        goes_on = self.tell(keeper.history, keeper.best)
        if not goes_on and not keeper.stopped and len(keeper.history) < (trainer.max_epochs or 0):
            raise PrunedError

    def tell(self, history: list[dict[str, float]], best: dict[str, float]) -> bool:
        """Tells the rows that were not told yet; whether to go on, by the last answer."""
        goes_on = True
        for row in history[len(self.history) :]:
            goes_on = self._tell(Epoch(row, best))
        self.history, self.best = list(history), dict(best)
        return goes_on


def run_trial(spec: TrialSpec, tell: Told) -> TrialEnd:
    """Trains `spec`; what goes wrong comes back as `failed`."""
    started = time.monotonic()
    telling = Telling(tell)
    status, error = "complete", ""
    try:
        recipe = Recipe.of(spec.recipe, where=f"trial {spec.number}")
        report = train(
            recipe=recipe,
            data=Path(spec.data),
            out=Path(spec.out),
            threads=spec.threads,
            seed=spec.seed,
            callbacks=[telling],
        )
        telling.tell(report.history, report.best)
        if spec.latency:
            telling.best[FORWARD_MS] = forward_ms(recipe, classes=len(report.keys))
    except PrunedError:
        status = "pruned"
    except BintallyError as problem:
        status, error = "failed", str(problem)
    except Exception as problem:  # whatever a combination of settings makes of torch: the other trials go on
        traceback.print_exc()
        status, error = "failed", f"{type(problem).__name__}: {problem}"
    return TrialEnd(
        number=spec.number,
        status=msgspec.convert(status, TrialEnd.__annotations__["status"]),
        best=telling.best,
        history=telling.history,
        seconds=time.monotonic() - started,
        error=error,
    )


def main() -> None:
    """Answers specs on stdin until it ends."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print is no answer
    lines = _lines(sys.stdin.buffer)
    decoder = msgspec.json.Decoder(TrialSpec)

    def say(message: Message) -> None:
        answers.write(msgspec.json.encode(message) + b"\n")

    def tell(epoch: Epoch) -> bool:
        say(epoch)
        return lines.get() == GO

    while True:
        say(End(run_trial(decoder.decode(lines.get()), tell)))


def _lines(stdin: IO[bytes]) -> "queue.Queue[bytes]":
    """The lines of `stdin`; its end, in the middle of a training too, ends this process."""
    lines: queue.Queue[bytes] = queue.Queue()

    def read() -> Any:
        for line in stdin:
            lines.put(line)
        os._exit(1)

    threading.Thread(target=read, daemon=True).start()
    return lines


if __name__ == "__main__":
    main()
