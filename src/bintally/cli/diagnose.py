"""`bintally diagnose`: what ails a training before it starts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, console, emit_json, progress_for, training_extra

if TYPE_CHECKING:
    from bintally.training.diagnose.before.report import DiagnoseReport


def diagnose(
    recipe: Annotated[Path, typer.Argument(help="A recipe (TOML); recipes/ holds the ones that come along.")],
    data: Annotated[Path, typer.Option(help="A data folder with a split.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the report goes.")],
    only: Annotated[
        list[str] | None, typer.Option(help="One check: leakage, labels, rate or noise; again for more. Default: all.")
    ] = None,
    photos: Annotated[int | None, typer.Option(help="Training photos looked at, at most; default: all.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: all there are.")] = None,
    json_output: Json = False,
) -> None:
    """Look at data, labels, learning rate and batch size before training, and say what to do first.

    Example: `bintally diagnose recipes/quick.toml --data data --out diagnosis --only rate`
    """
    with training_extra():
        from bintally.training.diagnose.before import run as verb
    from bintally.records import to_plain

    report = verb.diagnose(
        recipe=recipe,
        data=data,
        out=out,
        checks=only or verb.CHECKS,
        threads=threads,
        settings=verb.DiagnoseSettings.of({"photos": photos}),
        progress=progress_for(json_output=json_output),
    )
    if json_output:
        emit_json(to_plain(report))
    else:
        show(report)


def show(report: "DiagnoseReport") -> None:
    """A line a check, and what to do first."""
    from rich.table import Table

    table = Table(title=f"{report.recipe}: {report.photos:,} photos", title_justify="left", box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    if report.leakage:
        table.add_row("leakage", report.leakage.leakage.sentence())
    for name, checked in (("labels", report.labels), ("rate", report.rate), ("noise", report.noise)):
        if checked:
            table.add_row(name, checked.sentence())
    out = console()
    out.print(table)
    out.print(f"[bold]First:[/] {report.first}", markup=True)
    out.print(f"[dim]{report.page} ({report.seconds:.0f} s)[/]")
