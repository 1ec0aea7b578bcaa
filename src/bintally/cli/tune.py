"""`bintally tune`: recipe with a search space + split photos -> the values it learns best with."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, console, emit_json, progress_for, training_extra
from bintally.progress import SILENT

if TYPE_CHECKING:
    from rich.table import Table

    from bintally.training.tune.leaderboard import Leaderboard
    from bintally.training.tune.run import Seen, TuneReport

SHOWN = 15


def tune(
    recipe: Annotated[Path, typer.Argument(help="A recipe (TOML) with a [tune.space].")],
    data: Annotated[Path, typer.Option(help="A data folder with a split.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of all trials.")],
    trials: Annotated[int | None, typer.Option(help="Takes the place of the recipe's; more go on.")] = None,
    parallel: Annotated[int | None, typer.Option(help="Trials at a time; they share the cores.")] = None,
    objective: Annotated[str | None, typer.Option(help="log_loss, accuracy, rmse or accuracy_latency.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of what is tried.")] = None,
    on: Annotated[str, typer.Option(help="Train on a Ray cluster: 'ray', or ray://host:port.")] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Start again, whatever OUT holds.")] = False,
    json_output: Json = False,
) -> None:
    """Find the values of a recipe's keys that it learns best with. After a kill, the same command goes on.

    Example: `bintally tune recipes/tune.toml --data data --out runs/tune --trials 8 --parallel 2`
    """
    with training_extra():
        from bintally.training.tune.run import tune as run
    from bintally.records import to_plain

    screen = console()
    live = screen.is_terminal and not json_output
    progress = SILENT if live else progress_for(json_output=json_output)
    with _live_table() if live else _nothing() as seen:
        report = run(
            recipe=recipe,
            data=data,
            out=out,
            trials=trials,
            parallel=parallel,
            objective=objective,
            seed=seed,
            on=on,
            fresh=fresh,
            progress=progress,
            seen=seen,
        )
    if json_output:
        emit_json(to_plain(report))
    else:
        show(report)


def show(report: "TuneReport") -> None:
    """The leaderboard, and where its page and the best recipe are."""
    out = console()
    out.print(table_of(report.leaderboard, title=f"{report.recipe}: {len(report.leaderboard.rows)} trials"))
    shares = ", ".join(f"{key} {share:.0%}" for key, share in report.leaderboard.importance.items())
    if shares:
        out.print(f"What mattered: {shares}.")
    out.print(f"Best: trial {report.best}. [dim]{report.best_recipe} trains it again; {report.page} shows all.[/]")
    if report.trials_run:
        out.print(f"[dim]{report.trials_run} trials in {report.seconds:.0f} s: {report.trials_per_hour:.0f} an hour[/]")


def table_of(board: "Leaderboard", *, title: str) -> "Table":
    """The first trials of a leaderboard, the best in bold."""
    from rich.table import Table

    keys = list(dict.fromkeys(key for row in board.rows for key in row.parameters))
    table = Table(title=title, title_justify="left", box=None)
    for name in ("trial", "status", *keys, *board.aims, "epochs", "seconds"):
        table.add_column(name, justify="left" if name == "status" else "right")
    for row in board.rows[:SHOWN]:
        values = (row.parameters.get(key, "") for key in keys)
        aims = (f"{row.objective[name]:.4f}" if name in row.objective else "" for name in board.aims)
        table.add_row(
            str(row.number),
            row.status,
            *(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values),
            *aims,
            str(row.epochs),
            "" if row.seconds is None else f"{row.seconds:.0f}",
            style="bold" if row.on_front else {"running": "", "failed": "red"}.get(row.status, "dim"),
        )
    if len(board.rows) > SHOWN:
        table.caption = f"and {len(board.rows) - SHOWN} more"
    return table


@contextmanager
def _live_table() -> "Iterator[Seen]":
    """A table on the terminal that follows the trials."""
    from rich.live import Live

    lock = threading.Lock()
    with Live(console=console(), auto_refresh=False, transient=True) as live:

        def seen(board: "Leaderboard") -> None:
            ended = sum(row.status != "running" for row in board.rows)
            with lock:
                live.update(table_of(board, title=f"{ended} of {len(board.rows)} trials ended"), refresh=True)

        yield seen


@contextmanager
def _nothing() -> "Iterator[None]":
    yield None
