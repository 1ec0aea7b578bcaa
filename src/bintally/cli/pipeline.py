"""`bintally pipeline run | show | stages`: the whole job, and what became of it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bintally.cli.common import Json, console, emit_json, progress_for, training_extra

if TYPE_CHECKING:
    from rich.console import Console

    from bintally.pipeline import PipelineReport, StageResult

app = typer.Typer(
    help="The whole job: fetch, check, explore, split, train, export, evaluate; then register, gates, promote.",
    no_args_is_help=True,
)

DEFAULT_MODEL = "bintally"


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe (TOML); recipes/ holds the ones that come along.")],
    source: Annotated[
        str | None,
        typer.Option(help="Where photos come from (see `bintally fetch`); default: the recipe's own source."),
    ] = None,
    workspace: Annotated[
        Path | None, typer.Option(help="Where everything goes; default: runs/RECIPE[-SOURCE].")
    ] = None,
    from_stage: Annotated[str | None, typer.Option("--from", help="Run this stage and all later ones anew.")] = None,
    only: Annotated[str | None, typer.Option(help="Run this stage alone, anew.")] = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Draw the split anew; else photos that were split before stay where they were."),
    ] = False,
    promote: Annotated[
        bool, typer.Option("--promote", help="Register the model, and make it the champion if the gates let it.")
    ] = False,
    registry: Annotated[
        Path | None, typer.Option(help="The registry that --promote speaks of; default: $BINTALLY_REGISTRY.")
    ] = None,
    model: Annotated[str, typer.Option(help="Which of the registry's models this is a version of.")] = DEFAULT_MODEL,
    acting: Annotated[
        str | None, typer.Option("--as", help="Who does this; default: $BINTALLY_AS, else the system's user.")
    ] = None,
    fail_if_not_promoted: Annotated[
        bool,
        typer.Option("--fail-if-not-promoted", help="End with 1 if the model is not the champion afterwards."),
    ] = False,
    json_output: Json = False,
) -> None:
    """Run a recipe from photos to a judged model. Stages whose inputs and settings are unchanged are skipped.

    With --promote the model becomes a version of the registry, and the champion if it is better. One that is not ends
    the run with 0 all the same: nothing went wrong.

    Example: `bintally pipeline run recipes/sample.toml`
    """
    place = _registry(registry) if promote else None
    with training_extra():
        from bintally.pipeline import run_pipeline
    from bintally.records import to_plain

    out = console()
    report = run_pipeline(
        recipe=recipe,
        source=source,
        workspace=workspace,
        from_stage=from_stage,
        only=only,
        fresh=fresh,
        registry=place,
        model=model,
        by=acting or os.environ.get("BINTALLY_AS"),
        progress=progress_for(json_output=json_output),
        on_stage=(lambda result: None) if json_output else (lambda result: _show_stage(out, result)),
    )
    if json_output:
        emit_json(to_plain(report))
    else:
        _show_end(out, report)
    if fail_if_not_promoted and (report.version is None or report.version != report.champion):
        raise typer.Exit(1)


@app.command()
def show(
    workspace: Annotated[
        Path | None, typer.Argument(help="A run's workspace; default: the one in runs/ that ran last.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="How many of the last runs.")] = 10,
    out: Annotated[Path | None, typer.Option(help="Write it as a page to this file, too.")] = None,
    json_output: Json = False,
) -> None:
    """Draw the graph of stages with what last became of each, and list the last runs with their reasons.

    Example: `bintally pipeline show runs/sample --out show.html`
    """
    with training_extra():
        from bintally.pipeline.seen import Seen
    from bintally.records import to_plain

    seen = Seen.of(workspace, last=runs)
    if out is not None:
        from bintally.pipeline.page import write_page

        write_page(seen, out)
    if json_output:
        emit_json(to_plain(seen))
        return
    from bintally.pipeline.drawing import draw

    screen = console()
    draw(seen, screen)
    if out is not None:
        screen.print(f"[dim]{out}[/]")


@app.command()
def stages() -> None:
    """List the stages, in order; those that only --promote runs are marked.

    Example: `bintally pipeline stages`
    """
    with training_extra():
        from bintally.pipeline import PROMOTING, STAGES
    for stage in STAGES:
        typer.echo(stage.name)
    for stage in PROMOTING:
        typer.echo(f"{stage.name} (--promote)")


def _registry(named: Path | None) -> Path:
    from bintally.errors import UsageError

    told = named or os.environ.get("BINTALLY_REGISTRY")
    if not told:
        raise UsageError("Promote in which registry?", hint="Say it with --registry PLACE or $BINTALLY_REGISTRY.")
    return Path(told)


def _show_stage(out: "Console", result: "StageResult") -> None:
    from rich.markup import escape

    from bintally.pipeline.reasons import FIRST
    from bintally.pipeline.words import duration, headline

    reason = escape(result.reason.partition(": ")[2])
    if result.status == "unchanged":
        calm = reason.startswith("nothing changed")
        out.print(f"= {result.stage:<9} skipped: {reason}", style="dim" if calm else "yellow")
        return
    if result.status == "skipped":
        out.print(f"[yellow]-[/] [bold]{result.stage:<9}[/] skipped: {reason}")
        return
    told = escape(headline(result.stage, result.report))
    out.print(f"[green]✓[/] [bold]{result.stage:<9}[/] {told} [dim]({duration(result.seconds)})[/]")
    if reason != FIRST:
        out.print(f"  [dim]{'':<9} {reason}[/]")
    if result.stage == "split":
        for warning in (result.report or {})["warnings"]:
            out.print(f"  [bold red]{warning}[/]" if "LEAKS" in warning else f"  [yellow]{warning}[/]")
    if result.stage == "gates":
        _show_gates(out, result.report or {})


def _show_gates(out: "Console", report: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 1))
    for gate in report["gates"]:
        mark = "[green]✓[/]" if gate["passed"] else "[red]✗[/]"
        table.add_row(" " * 10, mark, gate["gate"], f"[dim]{escape(gate['reason'])}[/]")
    out.print(table)


def _show_end(out: "Console", report: "PipelineReport") -> None:
    """The figures that matter, the blind answer beside them, and what to do next."""
    from rich.panel import Panel
    from rich.table import Table

    from bintally.pipeline.words import duration

    workspace = Path(report.workspace)
    body = Table.grid(padding=(0, 2))
    judged = next((stage.report for stage in report.stages if stage.stage == "evaluate" and stage.report), None)
    if judged is None:
        judged = _last_evaluation(workspace)
    if judged is not None:
        for row in _figures(judged):
            body.add_row(*row)
        body.add_row()
    for what, where in (
        ("report", workspace / "report" / "report.html"),
        ("data", workspace / "data" / "explore.html"),
        ("training", workspace / "run" / "curves.svg"),
        ("model", workspace / "bundle"),
    ):
        if where.exists():
            body.add_row(what, f"[cyan]{where}[/]")
    body.add_row("count", f"[cyan]bintally count PHOTO --bundle {workspace / 'bundle'}[/]")
    if report.version is not None:
        body.add_row("version", f"[bold]{report.version}[/], {_standing(report)}")
    out.print(Panel(body, title=f"{report.recipe} on {report.source}, {duration(report.seconds)}", expand=False))


def _standing(report: "PipelineReport") -> str:
    if report.champion == report.version:
        return "[green]the champion now[/]" if report.promoted else "the champion already"
    return f"[yellow]not promoted[/]: {report.champion} stays" if report.champion else "[yellow]not promoted[/]"


def _last_evaluation(workspace: Path) -> dict[str, Any] | None:
    import json

    path = workspace / "report" / "metrics.json"
    return json.loads(path.read_text()) if path.is_file() else None


def _figures(judged: dict[str, Any]) -> list[tuple[str, str]]:
    figures, blind = judged["figures"], judged["blind"][0]["figures"]

    def row(title: str, name: str, digits: int) -> tuple[str, str]:
        figure = figures[name]
        text = f"[bold]{figure['value']:.{digits}f}[/] ({figure['low']:.{digits}f}-{figure['high']:.{digits}f})"
        return title, text + (f"   blind: {blind[name]:.{digits}f}" if name in blind else "")

    rows = [
        row("right count", "accuracy", 3),
        row("within one", "within_one", 3),
        row("RMSE (items)", "rmse", 2),
    ]
    calibration = judged["calibration"]
    rows.append(
        ("calibration error", f"{calibration['ece']:.3f} (chance alone: up to {calibration['ece_if_calibrated']:.3f})")
    )
    return rows
