"""`bintally export`: run -> bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, console, emit_json, progress_for, training_extra

if TYPE_CHECKING:
    from bintally.training.export import ExportReport


def export(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    data: Annotated[Path, typer.Option(help="The split data folder it was trained on: val calibrates it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The bundle's folder.")],
    recipe: Annotated[
        Path | None, typer.Option(help="Take [export] and [evaluate] from this recipe, not from the run's own.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The model's name; default: the recipe's, with the date.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: all there are.")] = None,
    json_output: Json = False,
) -> None:
    """Turn a run into a bundle: one ONNX graph that does everything, checked against torch, and its card.

    Example: `bintally export runs/first --data data --out first-bundle`
    """
    with training_extra():
        from bintally.training.export import export as work
    from bintally.records import to_plain

    report = work(
        run=run,
        data=data,
        out=out,
        recipe=recipe,
        name=name,
        threads=threads,
        progress=progress_for(json_output=json_output),
    )
    if json_output:
        emit_json(to_plain(report))
    else:
        show(report)


def show(report: "ExportReport") -> None:
    """What the bundle is and how far it is from torch."""
    accuracy, out = report.val.figures["accuracy"], console()
    out.print(f"[bold]{report.name}[/] -> {report.bundle} ({report.bytes / 1e6:.1f} MB)")
    out.print(f"val accuracy {accuracy.value:.3f} ({accuracy.low:.3f}-{accuracy.high:.3f})")
    out.print(
        f"[dim]temperature {report.temperature:.2f}; on {report.checked_photos} photos no probability differs from "
        f"torch's by more than {report.max_difference:.4f} ({report.mean_difference:.4f} on average)[/]"
    )
