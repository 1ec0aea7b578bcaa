"""`bintally search`: the best counter that can be trained in so many minutes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, console, emit_json, progress_for, training_extra

if TYPE_CHECKING:
    from bintally.bundle import Figure
    from bintally.training.tune.search_report import SearchReport


def search(
    data: Annotated[Path, typer.Option(help="A data folder with a split.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where trials, leaderboard and bundle go.")],
    minutes: Annotated[float, typer.Option(help="The whole budget, export included.")],
    preset: Annotated[str, typer.Option(help="fast, balanced or best.")] = "balanced",
    recipe: Annotated[Path | None, typer.Option(help="Decides all but architecture, sides and length.")] = None,
    counts: Annotated[str | None, typer.Option(help="Counts trained on and asked about, e.g. 1-5.")] = None,
    backbone: Annotated[
        list[str] | None, typer.Option(help="In place of the preset's: NAME, or NAME:3 for its first three stages.")
    ] = None,
    parallel: Annotated[int, typer.Option(help="Trials at a time, which share the threads.")] = 1,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: all there are.")] = None,
    seed: Annotated[int | None, typer.Option(help="Takes the place of the recipe's.")] = None,
    test: Annotated[bool, typer.Option("--test", help="Judge the winner on test, once, at the end.")] = False,
    on: Annotated[str, typer.Option(help="Train on a Ray cluster: 'ray', or ray://host:port.")] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Start again, whatever OUT holds.")] = False,
    json_output: Json = False,
) -> None:
    """Search architectures and ways to train them within a time, and export the best. A stopped search goes on.

    Example: `bintally search --data data --out runs/search --minutes 30 --preset balanced`
    """
    with training_extra():
        from bintally.training.tune.search import search as run
    from bintally.records import to_plain

    report = run(
        data=data,
        out=out,
        minutes=minutes,
        preset=preset,
        counts=counts,
        recipe=recipe,
        backbones=backbone or (),
        parallel=parallel,
        threads=threads,
        seed=seed,
        test=test,
        on=on,
        fresh=fresh,
        progress=progress_for(json_output=json_output),
    )
    if json_output:
        emit_json(to_plain(report))
    else:
        show(report)


def show(report: "SearchReport") -> None:
    """The leaderboard, the winner in bold, the blind baseline beside it."""
    from rich.table import Table

    title = f"{report.preset}: {report.used_minutes:.1f} of {report.minutes:g} minutes"
    table = Table(title=title, title_justify="left", box=None)
    for name in ("network", "trained", "px", "accuracy", "RMSE", "log loss", "ECE", "ms/photo", "MB", "s", "status"):
        table.add_column(name, justify="left" if name in ("network", "trained", "status") else "right")
    for row in report.rows:
        latency = "" if row.latency_ms is None else f"{row.latency_ms:.1f} {row.latency_by}"
        figures = (_share(row.accuracy), _value(row.rmse), _value(row.log_loss))
        ece = "" if row.ece is None else f"{row.ece:.3f}"
        size = "" if row.size_mb is None else f"{row.size_mb:.1f}"
        cells = (row.name, row.way, str(row.px or ""), *figures, ece, latency, size, f"{row.seconds:.0f}")
        table.add_row(*cells, f"{row.status} {row.note}".strip(), style="bold" if row.status == "winner" else "")
    blind = report.blind
    table.add_row("blind", "", "", f"{blind['accuracy']:.1%}", f"{blind['rmse']:.3f}", f"{blind['log_loss']:.3f}")
    out = console()
    out.print(table)
    out.print("Val chose the winner, so its figures on val are optimistic.")
    if report.test is not None:
        found = report.test.figures["accuracy"]
        out.print(f"On test: {found.value:.1%} exactly right ({found.low:.1%} to {found.high:.1%}).")
    out.print(f"[dim]{report.bundle}; {report.out}/search.html[/]")


def _share(figure: "Figure | None") -> str:
    return "" if figure is None else f"{figure.value:.1%} ({figure.low:.1%}-{figure.high:.1%})"


def _value(figure: "Figure | None") -> str:
    return "" if figure is None else f"{figure.value:.3f}"
