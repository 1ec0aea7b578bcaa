"""`bintally compare`: two or more models on the same photos."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, console, emit_json

if TYPE_CHECKING:
    from bintally.counting.comparison import Comparison


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run folders, or what `bintally evaluate` wrote; two or more.", metavar="RUN..."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where compare.html and compare.json go.")],
    against: Annotated[Path | None, typer.Option(help="The RUN that is the measure; default: the first.")] = None,
    data: Annotated[Path | None, typer.Option(help="The data folder: the page then shows photos.")] = None,
    seed: Annotated[int, typer.Option(help="Of resampling: the same seed, the same intervals.")] = 0,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of each interval.")] = 2000,
    gallery: Annotated[int, typer.Option(help="Photos on which they disagree most; 0: none.")] = 12,
    json: Json = False,
) -> None:
    """Compares models photo by photo: paired differences with intervals, McNemar's test, curves over each other.

    Example: `bintally compare runs/resnet50 runs/resnext50 --data data --out runs/compared`
    """
    from bintally.counting.compare import compare as run
    from bintally.records import to_plain

    found = run(runs=runs, out=out, against=against, data=data, seed=seed, resamples=resamples, gallery=gallery)
    if json:
        emit_json(to_plain(found))
    else:
        show(found)


def show(found: "Comparison") -> None:
    """The models, and each pair's sentence, on stderr."""
    from rich.table import Table

    table = Table(
        title=f"{found.photos:,} photos of {found.bins:,} bins, counts {', '.join(found.keys)}",
        title_justify="left",
        box=None,
    )
    for name in ("", "exactly right", "log loss", "rmse", "parameters", "training", "counting"):
        table.add_column(name, justify="right" if name else "left")
    for one in found.entrants:
        figures = one.figures
        table.add_row(
            one.label,
            f"{figures['accuracy'].value:.1%}",
            f"{figures['log_loss'].value:.3f}",
            f"{figures['rmse'].value:.3f}",
            f"{one.parameters / 1e6:.1f} M" if one.parameters else "-",
            f"{one.training_s / 60:.1f} min" if one.training_s else "-",
            f"{one.counting_photos_per_s:.0f} photos/s" if one.counting_photos_per_s else "-",
            style="bold" if one.label == found.against else "",
        )
    out = console()
    out.print(table)
    for pair in found.pairs:
        out.print(pair.says)
    out.print(f"[dim]{found.page}[/]")
