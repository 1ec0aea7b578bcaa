"""`bintally plan`: which bins to count by hand and which to photograph next, and the way to them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, LedgerOption, SiteOption, console, emit_json

if TYPE_CHECKING:
    from bintally.inventory.planning.report import Look, PlanReport

_SHOWN = 20


def plan(
    ledger: LedgerOption = None,
    site: SiteOption = None,
    counts: Annotated[int, typer.Option(help="Bins that people can count in the day.")] = 100,
    photos: Annotated[int, typer.Option(help="Bins that robots can photograph in the day.")] = 0,
    day: Annotated[str | None, typer.Option(help="The day (2026-11-22); default: today, in UTC.")] = None,
    layout: Annotated[
        Path | None,
        typer.Option(help="Where bins are: bin, aisle, position, level[, x, y]; default: read from codes."),
    ] = None,
    previous: Annotated[
        Path | None, typer.Option(help="An earlier plan: what of it was not done stays.", metavar="FILE")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="Costs, rates, the calendar and more (TOML).", metavar="FILE")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The plan as .csv or .parquet.", metavar="FILE")
    ] = None,
    json: Json = False,
) -> None:
    """Which bins to look at next: those where a look is worth most, and some that the ABC calendar is overdue with.

    Example: `bintally plan --counts 100 --photos 500 --day 2026-11-22 --out plan.csv`
    """
    from bintally.inventory.planning.run import plan_counts
    from bintally.records import to_plain
    from bintally.settings import ledger_place

    report = plan_counts(
        ledger=ledger_place(ledger),
        site=site,
        counts=counts,
        photos=photos,
        day=day,
        out=out,
        layout=layout,
        previous=previous,
        settings=settings,
    )
    if json:
        emit_json(to_plain(report))
    else:
        show(report)


def show(report: "PlanReport") -> None:
    """The plan in short, and its first bins, on stderr."""
    from rich.table import Table

    from bintally.inventory.planning.words import percent

    out = console()
    out.print(
        f"{report.site}, {report.day}: {report.candidates:,} bins, about {report.wrong:,.0f} wrong records, "
        f"{report.overdue:,} overdue by the calendar."
    )
    out.print(f"[dim]{_rates(report)}[/]")
    for name, look in (("count", report.counts), ("photograph", report.photos)):
        if look.capacity:
            out.print(_look(name, look, report.currency))
    table = Table(box=None)
    for name in ("", "", "bin", "class", "wrong", "worth", "why"):
        table.add_column(name, justify="right" if name in ("wrong", "worth") else "left", no_wrap=name != "why")
    for each in report.bins[:_SHOWN]:
        told = (percent(each.wrong), f"{each.worth:,.2f}", "; ".join(each.reasons))
        table.add_row(each.look, str(each.step), each.bin, each.abc, *told)
    if report.bins:
        out.print(table)
    if len(report.bins) > _SHOWN:
        out.print(f"[dim]and {len(report.bins) - _SHOWN:,} more[/]")
    if report.kept:
        out.print(f"{report.kept:,} were planned before and not done.")
    if report.file:
        out.print(f"[dim]{report.file}[/]")


def _look(name: str, look: "Look", currency: str) -> str:
    lost = f"; of {look.unplaced:,} nobody knows where they are" if look.unplaced else ""
    return (
        f"{name} [bold]{look.planned:,}[/] of {look.capacity:,} possible: {look.errors:,.1f} wrong records among them, "
        f"worth {look.worth:,.2f} {currency}; about {look.after_m:,.0f} m to walk, {look.before_m:,.0f} unordered{lost}"
    )


def _rates(report: "PlanReport") -> str:
    from bintally.inventory.planning.words import percent

    rates = report.rates
    return (
        f"1,000 movements bring {1000 * rates.touch:.2g} errors, 1,000 days {1000 * rates.day:.2g} (learnt from "
        f"{rates.counts:,} counts of bins counted before); of bins never looked at, {percent(rates.never_looked)} "
        "are wrong"
    )
