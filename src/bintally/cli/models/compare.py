"""`bintally models compare`: two versions on the same photos."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, console, emit_json, progress_for
from bintally.cli.models.named import Model, RegistryOption, VersionArgument, opened

if TYPE_CHECKING:
    from rich.table import Table

    from bintally.bundle import Figure
    from bintally.registry.compared import Compared

_FIGURES = {"accuracy": "exactly right", "log_loss": "log loss", "rmse": "RMSE"}
_LEVEL = 0.05


def compare(
    version: VersionArgument,
    against: Annotated[
        str, typer.Argument(metavar="[AGAINST]", help="The measure: a version or an alias.")
    ] = "champion",
    data: Annotated[
        Path | None, typer.Option(help="Data folder with the photos; default: those that both were asked about last.")
    ] = None,
    split: Annotated[str, typer.Option(help="Its val or test.")] = "test",
    counts: Annotated[
        str | None, typer.Option(help='Counts asked about, such as "1-5"; default: all both know.')
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where a page and its figures go.")] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    model: Model = "bintally",
    registry: RegistryOption = None,
    json_output: Json = False,
) -> None:
    """Compare two versions photo by photo: which is right more often, on which photos, and is it more than chance?

    Photos of bins that either learnt from are left out. Answers are kept: nothing is counted twice.

    Example: `bintally models compare bintally/7 champion --data runs/first/data`
    """
    from bintally.records import to_plain
    from bintally.registry.compared import compare_versions
    from bintally.registry.versions import version_of

    with opened(registry) as held:
        with held.read() as connection:
            names = [version_of(connection, called, model=model).name for called in (version, against)]
        progress = progress_for(json_output=json_output)
        found = compare_versions(
            held, *names, data=data, split=split, counts=counts, out=out, seed=seed, progress=progress
        )
    if json_output:
        emit_json({**to_plain(found), "sentence": found.sentence})
    else:
        _show(found)


def _show(found: "Compared") -> None:
    from rich.markup import escape

    out = console()
    comparison = found.comparison
    where = escape(found.data) if found.data else "photos that both were asked about"
    left = f", {found.left_out:,} left out that one of them may know" if found.left_out else ""
    out.print(
        f"{comparison.photos:,} photos of {comparison.bins:,} bins ({found.split} of {where}{left}), "
        f"counts {', '.join(comparison.keys)}\n",
        soft_wrap=True,
    )
    out.print(_figures(found))
    if found.swapped.kinds:
        out.print()
        out.print(_kinds(found))
    out.print(f"\n[bold]{escape(found.sentence)}[/]", soft_wrap=True)
    for each in found.unknown:
        out.print(f"[yellow]Some of these photos may be known: {escape(each)}.[/]", soft_wrap=True)
    if comparison.page:
        out.print(f"[dim]{escape(comparison.page)}[/]", soft_wrap=True)


def _figures(found: "Compared") -> "Table":
    [pair] = found.comparison.pairs
    this, other = found.comparison.entrants
    table = _table("", this.label, other.label, "difference", "95%", "p", "blind")
    for name, label in _FIGURES.items():
        share, difference = name == "accuracy", pair.differences[name]
        table.add_row(
            label,
            _value(this.figures[name], share=share),
            _value(other.figures[name], share=share),
            *_difference(difference, share=share),
            _p(found.swapped.p[name]),
            f"[dim]{_value(found.blind[name], share=share)}[/]",
        )
    table.add_row("MB", *(f"{one.weights_mb:,.1f}" for one in (this, other) if one.weights_mb is not None))
    return table


def _kinds(found: "Compared") -> "Table":
    """The one where the version gains least first."""
    table = _table(
        "exactly right, by", *(one.label for one in found.comparison.entrants), "points", "95%", "p", "photos"
    )
    for each in sorted(found.swapped.kinds, key=lambda each: each.difference.value):
        value, interval = _difference(each.difference, share=True)
        table.add_row(
            each.name, f"{each.accuracy:.1%}", f"{each.against:.1%}", value, interval, _p(each.p), f"{each.photos:,}"
        )
    return table


def _table(*names: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for place, name in enumerate(names):
        table.add_column(name, justify="right" if place else "left", overflow="fold")
    return table


def _value(figure: "Figure", *, share: bool) -> str:
    return f"{figure.value:.1%}" if share else f"{figure.value:.3f}"


def _difference(figure: "Figure", *, share: bool) -> tuple[str, str]:
    if share:
        return f"{100 * figure.value:+.1f}", f"{100 * figure.low:+.1f} to {100 * figure.high:+.1f}"
    return f"{figure.value:+.3f}", f"{figure.low:+.3f} to {figure.high:+.3f}"


def _p(p: float) -> str:
    """What is hardly chance stands out."""
    told = "< 0.001" if p < 0.001 else f"{p:.3f}"
    return f"[bold]{told}[/]" if p <= _LEVEL else told
