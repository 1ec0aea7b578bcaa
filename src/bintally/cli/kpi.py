"""`bintally kpi`: how right the records are, what accepting them lets through, and what it is worth."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, LedgerOption, console, emit_json
from bintally.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bintally.inventory.kpi.report import Cut, Figures, KpiReport


def kpi(
    ledger: LedgerOption = None,
    site: Annotated[str | None, typer.Option(help="The site's code; default: all sites together.")] = None,
    by: Annotated[str | None, typer.Option(help="Rows by site, class, product, week; several with commas.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Verdicts made from this day or moment on (ISO 8601, UTC).", metavar="TIME")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="What was known before this day or moment; default: now.", metavar="TIME")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="Costs of this policy; default: of the last verdict's.", metavar="FILE")
    ] = None,
    cost_count: Annotated[float | None, typer.Option(help="Cost of a count that an acceptance saves.")] = None,
    cost_recount: Annotated[float | None, typer.Option(help="Cost of sending a right record to a person.")] = None,
    cost_escape: Annotated[float | None, typer.Option(help="Cost of a wrong record that was accepted.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A folder for kpi.html and kpi.json.", metavar="FOLDER")
    ] = None,
    top: Annotated[int, typer.Option(help="Products shown, those with the most gross variance.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the intervals: the same seed, the same intervals.")] = 0,
    json: Json = False,
) -> None:
    """How right stock records are (IRA), what is accepted, what escapes, what differs, and what it is all worth.

    Example: `bintally kpi --ledger ledger.sqlite --by class,week --since 2026-11-01 --out kpi`
    """
    from bintally.inventory.kpi.run import kpi as run
    from bintally.records import to_plain
    from bintally.settings import ledger_place

    report = run(
        ledger=ledger_place(ledger),
        site=site,
        by=_cuts(by),
        since=_moment("--since", since),
        until=_moment("--until", until),
        policy=policy,
        cost_count=cost_count,
        cost_recount=cost_recount,
        cost_escape=cost_escape,
        out=out,
        top=top,
        seed=seed,
    )
    if json:
        emit_json(to_plain(report))
    else:
        show(report, _cuts(by))


def show(report: "KpiReport", cuts: "Sequence[Cut]") -> None:
    """The figures, and a table for each cut that was asked for, on stderr."""
    from rich.table import Table

    from bintally.inventory.kpi.words import cautions, percent, rows

    out = console()
    total = report.total
    title = f"{', '.join(report.sites)}: {total.judged:,} records judged, {total.counted:,} counted by a person"
    table = Table(title=title, title_justify="left", box=None)
    for name in ("", "value", "95% interval", "measured on"):
        table.add_column(name, justify="left" if name in ("", "measured on") else "right")
    for row in rows(total, report.currency):
        table.add_row(row.title, f"[bold]{row.value}[/]", row.interval, row.about)
    out.print(table)
    if total.promised is not None:
        out.print(f"Promised: at most {percent(total.promised)} wrong among the accepted.")
    for sentence in cautions(report):
        out.print(f"[yellow]{sentence}[/]")
    for cut in cuts:
        out.print()
        out.print(_cut(cut, report.by[cut], report.currency))
    if report.page:
        out.print(f"[dim]{report.page}[/]")


def _cut(cut: "Cut", parts: "Sequence[Figures]", currency: str | None) -> object:
    from rich.table import Table

    from bintally.inventory.kpi.words import hours, money, percent

    table = Table(title=f"by {cut}", title_justify="left", box=None)
    table.add_column("", no_wrap=True)
    value = ("net value",) if cut != "product" else ()
    for name in ("judged", "coverage", "IRA", "escape", "yield", "gross", f"gross {currency or ''}", "resolve", *value):
        table.add_column(name.strip(), justify="right")
    for part in parts:
        found = part.variance
        shares = (part.coverage, part.ira, part.escape, part.review_yield)
        worth = part.value.money.value if part.value else None
        table.add_row(
            part.name,
            f"{part.judged:,}",
            *("?" if share.value is None else percent(share.value) for share in shares),
            f"{found.gross_units:,}",
            "?" if found.gross_money is None else money(found.gross_money, None),
            hours(part.resolved.median_h),
            *(["?" if worth is None else money(worth, None)] if value else []),
        )
    return table


def _cuts(text: str | None) -> "tuple[Cut, ...]":
    from bintally.inventory.kpi.report import CUTS

    asked = [name.strip() for name in (text or "").split(",") if name.strip()]
    unknown = next((name for name in asked if name not in CUTS), None)
    if unknown is not None:
        raise UsageError(f"--by {unknown} is not known.", hint=did_you_mean(unknown, CUTS))
    return tuple(cut for cut in CUTS if cut in asked)


def _moment(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option} {text!r} is no moment.", hint="Write it as 2026-11-21 or 2026-11-21T08:00Z."
        ) from None
