"""The seam through which long work tells how far it is.

Rooms report to a `Progress`; the CLI hands in one that draws bars, tests and notebooks use `SILENT` or their own.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of long work under way."""

    def advance(self, amount: int = 1) -> None:
        """`amount` more units are done."""

    def note(self, text: str) -> None:
        """A few words to show beside the bar, such as the loss or a rate; replaces the last note."""


class Progress(Protocol):
    """Where tasks are shown."""

    def task(self, label: str, *, total: int | None, unit: str = "") -> AbstractContextManager[Task]:
        """A bar named `label` over `total` units (None: not known); `unit` names them, e.g. "photos"."""

    def say(self, text: str) -> None:
        """One line that stays on the screen."""


class _SilentTask:
    def advance(self, amount: int = 1) -> None: ...

    def note(self, text: str) -> None: ...


class _Silent:
    @contextmanager
    def task(self, label: str, *, total: int | None, unit: str = "") -> Iterator[Task]:
        yield _SilentTask()

    def say(self, text: str) -> None: ...


SILENT: Progress = _Silent()
