"""One of the processes that our launchers start, in tests: it trains nothing, but has its say. And who listens."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bintally.errors import TrainingError
from bintally.progress import Progress, Task
from bintally.training.launch import as_one_of_several

SAID = ["it begins", "train of 3 photos", "+2", "nearly", "over"]


def work(values: dict[str, Any], progress: Progress) -> None:
    """The first says how it goes, and has had enough; the others would wait for it, but are ended with it."""
    if os.environ["RANK"] != "0":
        time.sleep(60)
        return
    sys.stdout.write("what a library prints\n")
    progress.say("it begins")
    with progress.task("train", total=3, unit="photos") as task:
        task.advance(2)
        task.note("nearly")
    raise TrainingError(f"process 0 of {os.environ['WORLD_SIZE']} has had enough.", hint="Ask another one.")


class Heard:
    """A `Progress` that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        """Keeps it."""
        self.said.append(text)

    @contextmanager
    def task(self, label: str, *, total: int | None, unit: str = "") -> Iterator[Task]:
        """Keeps its begin and end, too."""
        self.say(f"{label} of {total} {unit}")
        yield self
        self.say("over")

    def advance(self, amount: int = 1) -> None:
        """Keeps it."""
        self.say(f"+{amount}")

    def note(self, text: str) -> None:
        """Keeps it."""
        self.say(text)


if __name__ == "__main__":
    as_one_of_several(work)
