"""`bintally report`: a training on one page, and what to do first."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, console, emit_json, training_extra

if TYPE_CHECKING:
    from bintally.training.run_said import RunReport


def report(
    run: Annotated[Path, typer.Argument(help="A run folder: finished, under way, or killed.", metavar="RUN")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The page; default: RUN/report.html.")] = None,
    defaults: Annotated[
        str | None,
        typer.Option(help="The profiler rules' defaults: code, as SageMaker's has them, or guide; else the recipe's."),
    ] = None,
    json: Json = False,
) -> None:
    """Says how a training went on one page: healthy, or what to do first; curves, findings, time, machine, recipe.

    Example: `bintally report runs/first`
    """
    with training_extra():
        from bintally.training.run_report import report as write
    from bintally.records import to_plain

    said = write(run=run, out=out, defaults=defaults)
    if json:
        emit_json(to_plain(said))
    else:
        show(said)


def show(said: "RunReport") -> None:
    """The sentence, the findings in order, and where the page is, on stderr."""
    from rich.table import Table

    out = console()
    out.print(f"[bold {'green' if said.healthy else 'red'}]{said.sentence}[/]")
    out.print(said.because)
    if said.findings:
        table = Table(box=None)
        for name in ("rule", "kind", "first step", "times", "what"):
            table.add_column(name, justify="right" if name in ("first step", "times") else "left")
        for group in said.findings:
            table.add_row(group.rule, group.kind, f"{group.first_step:,}", f"{group.times:,}", group.message)
        out.print(table)
    if said.time_sentence:
        out.print(said.time_sentence)
    for line in said.missing:
        out.print(f"[dim]Not here: {line}.[/]")
    out.print(f"[dim]{said.page}[/]")
