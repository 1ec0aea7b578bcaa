"""`bintally train`: recipe + split photos -> a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, console, emit_json, progress_for, training_extra

if TYPE_CHECKING:
    from bintally.training.finished import TrainReport


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe (TOML); recipes/ holds the ones that come along.")],
    data: Annotated[Path, typer.Option(help="A data folder with a split.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The run folder.")],
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: all there are.")] = None,
    seed: Annotated[int | None, typer.Option(help="Takes the place of the recipe's.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start again, whatever OUT holds.")] = False,
    devices: Annotated[
        int, typer.Option(help="Processes that train together on this machine: one a GPU, or on its CPU.")
    ] = 1,
    nodes: Annotated[int, typer.Option(help="Machines that train together; run the command on each.")] = 1,
    node: Annotated[int, typer.Option(help="Which of the machines this is, from 0.")] = 0,
    meet: Annotated[str, typer.Option(help="Where the machines meet: host:port of machine 0.")] = "",
    restarts: Annotated[int, typer.Option(help="How often to start again where one of the processes died.")] = 0,
    profile: Annotated[bool, typer.Option("--profile", help="Record a few steps' operators in OUT/profile.")] = False,
    on: Annotated[str, typer.Option(help="Train on a Ray cluster: 'ray', or ray://host:port.")] = "",
    json_output: Json = False,
) -> None:
    """Train a recipe. A run that was stopped, by a kill too, goes on where it was when the command runs again.

    Example: `bintally train recipes/baseline.toml --data data --out runs/first`
    """
    with training_extra():
        from bintally.training.run import train as run
    from bintally.records import to_plain

    progress = progress_for(json_output=json_output)
    report = run(
        recipe=recipe,
        data=data,
        out=out,
        threads=threads,
        seed=seed,
        fresh=fresh,
        progress=progress,
        profile=profile,
        processes={"devices": devices, "nodes": nodes, "node": node, "meet": meet, "restarts": restarts, "on": on},
    )
    if json_output:
        emit_json(to_plain(report))
    else:
        show(report)


def show(report: "TrainReport") -> None:
    """The epochs, the kept one in bold, and where the run is."""
    from rich.table import Table

    table = Table(title=f"{report.recipe}: {report.weights}", title_justify="left", box=None)
    for name in ("epoch", "train loss", "val log loss", "val accuracy", "val rmse", "seconds"):
        table.add_column(name, justify="right")
    for row in report.history:
        figures = (row["train_loss"], row["log_loss"], row["accuracy"], row["rmse"])
        style = "bold" if row["epoch"] == report.best["epoch"] else "dim"
        table.add_row(f"{row['epoch']:.0f}", *(f"{x:.3f}" for x in figures), f"{row['seconds']:.0f}", style=style)
    out = console()
    out.print(table)
    out.print(f"Blind (train's commonest count): accuracy {report.blind_accuracy:.3f} on val.")
    out.print(f"[dim]{report.run}: {report.photos_per_s:.0f} photos/s, curves in curves.svg[/]")
