"""How `bintally models shadow show` looks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

    from bintally.bundle import Figure
    from bintally.registry.shadow.confirmed import ConfirmedFigures
    from bintally.registry.shadow.figures import Latency, ShadowFigures


def show_figures(out: "Console", figures: "ShadowFigures") -> None:
    """What pairs tell without labels."""
    out.print(figures.sentence)
    if not figures.pairs:
        return
    table = _table("", "value", "95% interval", "")
    table.add_row("same count", *_share(figures.agreement), f"of {figures.pairs:,} pairs")
    table.add_row("items more", *_number(figures.more), "expected by the challenger, on average")
    table.add_row("apart", *_share(figures.distance), "of the probability, on average")
    table.add_row("surer", *_points(figures.sure), "if both are as right as they say")
    if figures.as_recorded is not None:
        table.add_row("as recorded", *_points(figures.as_recorded), f"more often, of {figures.recorded:,} records")
    challenger, champion = figures.not_taken
    table.add_row("no bin", f"{challenger:,}", "", f"photos for the challenger, {champion:,} for the champion")
    if figures.failed:
        table.add_row("failed", f"{figures.failed:,}", "", "photos that the challenger could not count")
    table.add_row("dropped", f"{figures.dropped:,}", "", "photos that the shadow had no time for")
    if figures.slower is not None:
        table.add_row("time", f"{figures.slower:.2f} x", "", "the champion's, side by side on one core")
    table.add_row(
        "live", _latency(figures.latency), "", f"ms, p50 and p95; champion {_latency(figures.champion_latency)}"
    )
    out.print(table)
    out.print(_by_count(figures))


def show_confirmed(out: "Console", found: "ConfirmedFigures") -> None:
    """What they tell where somebody counted."""
    out.print(f"\n[bold]{found.sentence}[/]")
    if not found.photos:
        return
    table = _table("", "value", "95% interval", "")
    table.title, table.title_justify = f"{found.photos:,} photos of {found.bins:,} bins that somebody counted", "left"
    table.add_row("right", *_share(found.accuracy), "of the challenger's counts")
    table.add_row("", *_share(found.champion_accuracy), "of the champion's")
    only = f"only challenger {found.only_challenger:,}, only champion {found.only_champion:,}"
    table.add_row("difference", *_points(found.difference), only)
    table.add_row("log loss", *_number(found.log_loss), f"difference; better p = {found.p_better:.3g}")
    table.add_row("as good", f"p = {found.p_margin:.3g}", "", f"right less often by less than {found.margin:.0%}")
    out.print(table)


def _by_count(figures: "ShadowFigures") -> Table:
    """Rows: the champion's counts; columns: the challenger's."""
    counts = sorted({count for row in figures.by_count for count in (row.count, *row.challenger)})
    table = _table("champion", *(f"challenger {count}" if count == counts[0] else count for count in counts), "alike")
    for row in figures.by_count:
        cells = [_cell(row.challenger.get(count, 0), bold=count == row.count) for count in counts]
        table.add_row(row.count, *cells, f"{row.agree / row.photos:.0%}")
    return table


def _table(first: str, *columns: str) -> Table:
    table = Table(box=None)
    table.add_column(first, no_wrap=True)
    for name in columns:
        table.add_column(name, justify="left" if not name else "right")
    return table


def _cell(photos: int, *, bold: bool) -> str:
    told = f"{photos:,}" if photos else "[dim]·[/]"
    return f"[bold]{told}[/]" if bold else told


def _share(figure: "Figure | None") -> Sequence[str]:
    return ("-", "") if figure is None else (f"{figure.value:.1%}", f"{figure.low:.1%} to {figure.high:.1%}")


def _points(figure: "Figure | None") -> Sequence[str]:
    if figure is None:
        return "-", ""
    return f"{100 * figure.value:+.1f} points", f"{100 * figure.low:+.1f} to {100 * figure.high:+.1f}"


def _number(figure: "Figure | None") -> Sequence[str]:
    return ("-", "") if figure is None else (f"{figure.value:+.3f}", f"{figure.low:+.3f} to {figure.high:+.3f}")


def _latency(latency: "Latency | None") -> str:
    return "-" if latency is None else f"{latency.p50_ms:.1f}, {latency.p95_ms:.1f}"
