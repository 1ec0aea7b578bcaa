"""What all commands share: how errors, progress and reports are shown."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bintally.errors import BintallyError, MissingExtraError, UsageError
from bintally.progress import SILENT, Progress, Task

if TYPE_CHECKING:
    from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of tables.")]

LedgerOption = Annotated[
    str | None,
    typer.Option("--ledger", help="A file, a folder or postgresql://USER@HOST/NAME; default: $BINTALLY_LEDGER."),
]
AsOption = Annotated[
    str | None, typer.Option("--as", help="Who acts, by the name the ledger knows; default: $BINTALLY_AS.")
]
SiteOption = Annotated[str | None, typer.Option("--site", help="The site's code; needed where there are several.")]


MOST_NUMBER: Final = 2**63 - 1
"""That a database has: nothing is numbered higher."""


def show_error(error: BintallyError) -> None:
    """The error's sentence and its next step, on stderr."""
    sys.stderr.write(f"error: {error.message}\n")
    if error.hint:
        sys.stderr.write(f"       {error.hint}\n")


def console() -> "Console":
    """stderr: progress and tables for people; stdout stays for machines."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def progress_for(*, json_output: bool) -> Progress:
    """Bars for people; silence for machines."""
    return SILENT if json_output else RichProgress(console())


def progress_beside_rows(*, rows_on_stdout: bool, machine: bool) -> Progress:
    """A bar where it helps: never between rows on one screen, never in the log of a machine."""
    if rows_on_stdout or machine:
        return progress_for(json_output=not sys.stderr.isatty() or (rows_on_stdout and sys.stdout.isatty()))
    return progress_for(json_output=False)


def say_model(name: str, licence: str) -> None:
    """The model that answered, and what its weights may be used for, on stderr."""
    restricted = " (non-commercial)" if "-NC" in licence and "commercial" not in licence else ""
    sys.stderr.write(f"Model {name}, weights: {licence}{restricted}.\n")


def emit_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")


class RichProgress:
    """Bars with rate and time left on a terminal; a line per finished task elsewhere (a log)."""

    def __init__(self, console: "Console") -> None:
        self._console = console

    @contextmanager
    def task(self, label: str, *, total: int | None, unit: str = "") -> Iterator[Task]:
        """A bar over `total` units."""
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        with Bars(
            SpinnerColumn(),
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]} {task.fields[rate]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("[dim]{task.fields[note]}"),
            console=self._console,
        ) as bars:
            known = bars.add_task(label, total=total, unit=unit, note="", rate="")
            yield _RichTask(bars, known)
            if total is None:
                bars.update(known, total=bars.tasks[0].completed)

    def say(self, text: str) -> None:
        """One line that stays."""
        self._console.print(text)


class _RichTask:
    def __init__(self, bars: Any, task_id: Any) -> None:
        self._bars = bars
        self._id = task_id

    def advance(self, amount: int = 1) -> None:
        task = self._bars.tasks[self._bars.task_ids.index(self._id)]
        self._bars.update(self._id, advance=amount, rate=f"{task.speed:,.0f}/s" if task.speed else "")

    def note(self, text: str) -> None:
        self._bars.update(self._id, note=text)


_EXTRAS = {
    "lightning": "train",
    "onnx": "train",
    "onnxscript": "train",
    "optuna": "tune",
    "safetensors": "train",
    "timm": "train",
    "tomli_w": "train",
    "torch": "train",
    "torchvision": "train",
}


def moment_of(text: str | None) -> datetime | None:
    """A moment by ISO 8601; without an offset UTC. None: nobody told one.

    Raises:
        UsageError: it is none.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no moment.", hint="Write it like 2026-11-21T08:30:00+01:00.") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


@contextmanager
def training_extra() -> Iterator[None]:
    """Turns a missing torch, timm, optuna ... into a sentence that says how to install them."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise MissingExtraError(
            f"This needs {error.name}, which is not installed.",
            hint=f"Install it with `pip install 'bintally[{extra}]'`.",
        ) from error
