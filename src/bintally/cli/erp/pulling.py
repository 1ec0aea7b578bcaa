"""`bintally erp pull`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, LedgerOption, console, emit_json, progress_for
from bintally.cli.erp.common import Name

if TYPE_CHECKING:
    from bintally.inventory.erp.pull import PullReport

_SHOWN = 20


def pull(
    name: Name = None,
    bins: Annotated[str | None, typer.Option(help="Only these, with commas; default: all.")] = None,
    create_bins: Annotated[bool, typer.Option("--create-bins", help="Add bins that the site does not have.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    ledger: LedgerOption = None,
    json_output: Json = False,
) -> None:
    """Take in what a stock system says is in bins, as new versions of their records.

    What it says again is no new version. Bins with corrections that it does not know of yet are left alone. Unknown
    bins and products are listed, the rest goes in; exit code 1 says that there were some.

    Example: `bintally erp pull erp --bins A-1,A-2 --dry-run`
    """
    from bintally.inventory.erp.run import pull_stock
    from bintally.records import to_plain
    from bintally.settings import ledger_place

    report = pull_stock(
        ledger=ledger_place(ledger),
        connection=name,
        bins=None if bins is None else [code.strip() for code in bins.split(",") if code.strip()],
        create_bins=create_bins,
        dry_run=dry_run,
        progress=progress_for(json_output=json_output),
    )
    if json_output:
        emit_json(to_plain(report))
    else:
        _show(report)
    if report.rejected:
        raise typer.Exit(1)


def _show(report: "PullReport") -> None:
    out = console()
    for each in report.rejected[:_SHOWN]:
        out.print(f"{each.bin}: {each.why}", style="yellow", markup=False)
    if len(report.rejected) > _SHOWN:
        out.print(f"... and {len(report.rejected) - _SHOWN:,} more; --json lists all.", style="yellow")
    if any("has no bin" in each.why for each in report.rejected):
        out.print("Bins that are new: add [cyan]--create-bins[/].")
    if any("has no product" in each.why for each in report.rejected):
        out.print("Products that are new: [cyan]bintally ledger import products FILE[/] first.")
    for change in report.changed[:_SHOWN] if report.dry_run else ():
        out.print(
            f"{change.bin}: {'no record' if change.before is None else change.before} -> {change.after}", markup=False
        )
    if report.waiting:
        told = f"Left alone, since {report.connection} does not know of corrections yet: {_some(report.waiting)}."
        out.print(told, markup=False)
    word = "would change" if report.dry_run else "changed"
    out.print(
        f"{report.read:,} bins read of {report.connection}: [bold]{len(report.changed):,} {word}[/], {report.same:,} "
        f"as they were, {len(report.waiting):,} left alone, {len(report.rejected):,} could not go in."
    )


def _some(bins: Sequence[str]) -> str:
    more = f" and {len(bins) - _SHOWN:,} more" if len(bins) > _SHOWN else ""
    return ", ".join(bins[:_SHOWN]) + more
