"""`bintally policy`: which records may be accepted without a person, made, shown and checked."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bintally.cli.common import Json, console, emit_json, progress_for

if TYPE_CHECKING:
    from bintally.inventory.policy.report import PolicyReport

app = typer.Typer(help="Which records may be accepted without a person: fit, show, check.", no_args_is_help=True)

Bundle = Annotated[str | None, typer.Option(help="The bundle: its folder, or champion or fast.", metavar="BUNDLE")]
Data = Annotated[Path, typer.Option(help="The data folder, with its split.", metavar="FOLDER")]
Settings = Annotated[Path | None, typer.Option(help="The policy's settings, a TOML file.", metavar="FILE")]
Kept = Annotated[
    Path | None, typer.Option(help="Table of evidence: read if it exists, else made, so that photos are counted once.")
]
Seed = Annotated[int, typer.Option(help="Of what is drawn.")]


@app.command()
def fit(
    data: Data,
    bundle: Bundle = None,
    split: Annotated[str, typer.Option(help="Photos the model did not learn from.")] = "val",
    settings: Settings = None,
    evidence: Kept = None,
    out: Annotated[Path | None, typer.Option(help="The file; default: acceptance.json in the bundle.")] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Count how often right and wrong records reach each score, and keep that beside the bundle.

    Example: `bintally policy fit --bundle champion --data data --split val`
    """
    from bintally.inventory.policy.fit import fit_policy
    from bintally.records import to_plain

    made = fit_policy(
        data=data,
        bundle=bundle,
        split=split,
        settings=settings,
        evidence=evidence,
        out=out,
        seed=seed,
        progress=progress_for(json_output=json),
    )
    if json:
        emit_json(to_plain(made))
    else:
        kinds = ", ".join(
            f"{table.kind} ({table.bins:,} bins)" for table in made.tables if not (table.tolerance or table.derived)
        )
        console().print(f"Acceptance of [bold]{made.model}[/] from {made.photos:,} photos of {made.split}: {kinds}.")


@app.command()
def show(
    bundle: Bundle = None,
    acceptance: Annotated[Path | None, typer.Option(help="The acceptance file; default: the bundle's own.")] = None,
    settings: Settings = None,
    json: Json = False,
) -> None:
    """Show the score each promise needs, and the share of right records that reach it.

    Example: `bintally policy show --bundle champion`
    """
    from bintally.inventory.policy.show import show_policy

    shown = show_policy(bundle=bundle, acceptance=acceptance, settings=settings)
    if json:
        emit_json(shown)
        return
    out = console()
    out.print("Right records accepted, and the score that takes (nats), by what is promised and how many are wrong.")
    for kind in dict.fromkeys((row["kind"], row["derived"]) for row in shown):
        out.print(_table([row for row in shown if (row["kind"], row["derived"]) == kind]))


@app.command()
def check(
    data: Data,
    out: Annotated[Path, typer.Option(help="Where policy.html and policy.json go.")],
    bundle: Bundle = None,
    split: Annotated[str, typer.Option(help="Photos that nothing was fitted to.")] = "test",
    settings: Settings = None,
    acceptance: Annotated[Path | None, typer.Option(help="The acceptance file; default: the bundle's own.")] = None,
    evidence: Kept = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Check on held-out photos, with errors injected, that the promise is kept, and what it costs.

    Example: `bintally policy check --bundle champion --data data --out report`
    """
    from bintally.inventory.policy.check import check_policy
    from bintally.records import to_plain

    report = check_policy(
        data=data,
        out=out,
        bundle=bundle,
        split=split,
        settings=settings,
        acceptance=acceptance,
        evidence=evidence,
        seed=seed,
        progress=progress_for(json_output=json),
    )
    if json:
        emit_json(to_plain(report))
    else:
        _show(report)


def _table(rows: list[dict[str, Any]]) -> object:
    from rich.table import Table

    first = rows[0]
    follows = ", of bins counted before: photos alone" if first["derived"] else ""
    table = Table(title=f"{first['kind']}{follows}: {first['bins']:,} bins", title_justify="left", box=None)
    wrongs = list(dict.fromkeys(row["wrong"] for row in rows))
    for name in ("promised", *(f"{100 * wrong:g}% wrong" for wrong in wrongs)):
        table.add_column(name, justify="right", no_wrap=True)
    for promised in dict.fromkeys(row["promised"] for row in rows):
        cells = [row for row in rows if row["promised"] == promised]
        table.add_row(
            f"{100 * promised:g}%",
            *(
                "-" if row["threshold"] is None else f"{row['right_accepted']:.0%} ({row['threshold']:g})"
                for row in cells
            ),
        )
    return table


def _show(report: "PolicyReport") -> None:
    from rich.table import Table

    from bintally.counting.evaluation_page import interval, percent

    out = console()
    for kind in report.kinds:
        name = f"{kind.kind}, photos alone" if kind.derived else kind.kind
        table = Table(
            title=f"{name}: {kind.cases:,} cases of {kind.groups:,} bins",
            title_justify="left",
            box=None,
        )
        for name in ("promised", "wrong", "accepted", "95% interval", "escape", "95% interval", "sites beyond chance"):
            table.add_column(name, justify="right")
        for each in kind.promises:
            escape = "-" if each.escape is None else percent(each.escape.value)
            beyond = "-" if each.sites is None else percent(each.sites.beyond_chance)
            shares = percent(each.promised), percent(each.wrong), percent(each.coverage.value)
            table.add_row(*shares, interval(each.coverage), escape, interval(each.escape), beyond)
        out.print(table)
    out.print(f"[dim]{report.report}[/]")
