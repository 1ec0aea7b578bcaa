"""`bintally pipeline run`: the whole job."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bintally.cli.common import Json, console, emit_json, progress_for, training_extra

if TYPE_CHECKING:
    from rich.console import Console

    from bintally.pipeline import PipelineReport, StageResult

app = typer.Typer(help="The whole job: fetch, check, explore, split, train, export, evaluate.", no_args_is_help=True)


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
    json_output: Json = False,
) -> None:
    """Run a recipe from photos to a judged model. Stages whose inputs and settings are unchanged are skipped.

    Example: `bintally pipeline run recipes/sample.toml`
    """
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
        progress=progress_for(json_output=json_output),
        on_stage=(lambda result: None) if json_output else (lambda result: _show_stage(out, result)),
    )
    if json_output:
        emit_json(to_plain(report))
    else:
        _show_end(out, report)


@app.command()
def stages() -> None:
    """List the stages, in order.

    Example: `bintally pipeline stages`
    """
    with training_extra():
        from bintally.pipeline import STAGES
    for stage in STAGES:
        typer.echo(stage.name)


def _show_stage(out: "Console", result: "StageResult") -> None:
    if result.status == "unchanged":
        out.print(f"[dim]= {result.stage:<9} unchanged since last time, skipped[/]")
        return
    headline = HEADLINES[result.stage](result.report or {})
    out.print(f"[green]✓[/] [bold]{result.stage:<9}[/] {headline} [dim]({_duration(result.seconds)})[/]")
    if result.stage == "split":
        for warning in (result.report or {})["warnings"]:
            out.print(f"  [bold red]{warning}[/]" if "LEAKS" in warning else f"  [yellow]{warning}[/]")


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else "none"


HEADLINES: dict[str, Any] = {
    "fetch": lambda r: f"{r['photos']:,} photos, {r['missing']:,} missing, {r['broken']:,} broken",
    "check": lambda r: f"{r['usable']:,} usable, {r['quarantined']:,} set aside, {r['warned']:,} with a warning",
    "explore": lambda r: f"what there is to see: {r['page']}",
    "split": lambda r: (
        ", ".join(f"{sum(sizes.values()):,} {name}" for name, sizes in r["sizes"].items())
        + f" in {r['groups']:,} bins, none divided" * (r["leakage"]["groups"]["crossing"] == 0)
    ),
    "train": lambda r: (
        f"epoch {r['best']['epoch']:.0f} of {len(r['history'])} kept: val accuracy {r['best']['accuracy']:.3f} "
        f"(blind {r['blind_accuracy']:.3f})"
    ),
    "export": lambda r: f"{r['bytes'] / 1e6:.1f} MB, within {r['max_difference']:.4f} of torch",
    "evaluate": lambda r: f"accuracy {r['figures']['accuracy']['value']:.3f} on {r['population']['judged']:,} photos",
}


def _show_end(out: "Console", report: "PipelineReport") -> None:
    """The figures that matter, the blind answer beside them, and what to do next."""
    from rich.panel import Panel
    from rich.table import Table

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
    out.print(Panel(body, title=f"{report.recipe} on {report.source}, {_duration(report.seconds)}", expand=False))


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


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
