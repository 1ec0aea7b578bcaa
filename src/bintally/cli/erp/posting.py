"""`bintally erp post`."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bintally.cli.common import Json, LedgerOption, console, emit_json, progress_for, show_error
from bintally.cli.erp.common import Name, lines_words, seconds_of
from bintally.errors import BintallyError, ErpError

if TYPE_CHECKING:
    from bintally.inventory.erp.rehearsal import Rehearsed
    from bintally.inventory.erp.relay import PostReport


def post(
    name: Name = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be sent; nothing is written or sent.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C or SIGTERM.")] = False,
    every: Annotated[str, typer.Option(metavar="TIME", help="With --watch: how often, such as 30s or 5m.")] = "30s",
    ledger: LedgerOption = None,
    json_output: Json = False,
) -> None:
    """Tell a stock system the corrections that it has not been told, each exactly once, in order for each bin.

    Each is held against what the stock system says first: where that is not what was counted against, it is stale, and
    a person looks. Exit code 1: some need a person now; 8: the stock system is away, or something failed and will be
    tried again.

    Example: `bintally erp post erp --watch --every 30s`
    """
    from bintally.inventory.ledger import Ledger
    from bintally.settings import ledger_place

    with Ledger.open(ledger_place(ledger)) as opened:
        if dry_run:
            _rehearse(opened, name, json_output)
        elif watch:
            _watch(opened, name, seconds_of(every), json_output)
        else:
            _post(opened, name, json_output)


def _post(opened: Any, name: str | None, json_output: bool) -> None:
    from bintally.inventory.erp.relay import post as run
    from bintally.inventory.erp.run import reached
    from bintally.records import to_plain

    with reached(opened, name) as (to, connector):
        report = run(opened, to, connector, progress=progress_for(json_output=json_output))
    if json_output:
        emit_json(to_plain(report))
    elif to.paused_at is not None:
        console().print(f"{to.name} is paused; corrections wait: [cyan]bintally erp resume {to.name}[/]")
    else:
        console().print(_words(report), markup=False)
    if report.failed:
        raise typer.Exit(ErpError.exit_code)
    if report.stale or report.refused:
        raise typer.Exit(1)


def _watch(opened: Any, name: str | None, every_s: float, json_output: bool) -> None:
    from bintally.inventory.erp.watch import watch as run
    from bintally.records import to_plain

    def tell(told: "PostReport | BintallyError") -> None:
        if isinstance(told, BintallyError):
            if json_output:
                emit_json({"error": told.message, "hint": told.hint})
            else:
                show_error(told)
        elif json_output:
            emit_json(to_plain(told))
        elif told.posted or told.stale or told.refused or told.failed:
            console().print(f"[dim]{datetime.now():%H:%M:%S}[/] {_words(told)}")

    with _stopped_by_signals() as stopping:
        run(opened, name, every_s=every_s, stopping=stopping, tell=tell)


def _rehearse(opened: Any, name: str | None, json_output: bool) -> None:
    from bintally.inventory.erp.rehearsal import rehearse
    from bintally.inventory.erp.run import reached
    from bintally.records import to_plain

    with reached(opened, name) as (to, connector):
        told = rehearse(opened, to, connector)
    if json_output:
        emit_json(to_plain(told))
    else:
        _show_rehearsed(told, to.name)


@contextmanager
def _stopped_by_signals() -> "Iterator[threading.Event]":
    """Set by Ctrl-C and SIGTERM; the second one ends the process at once."""
    stopping = threading.Event()

    def stop(number: int, _frame: object) -> None:
        stopping.set()
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _words(report: "PostReport") -> str:
    if not (report.posted or report.stale or report.refused or report.failed):
        return f"{report.connection} knows everything already."
    told = [f"{report.posted:,} posted to {report.connection}"]
    if report.stale or report.refused:
        told.append(f"{report.stale:,} stale and {report.refused:,} refused (`bintally erp dead-letters`)")
    if report.failed:
        told.append(f"{report.failed:,} will be tried again ({report.why})")
    return ", ".join(told) + "."


def _show_rehearsed(told: "list[Rehearsed]", name: str) -> None:
    from rich.table import Table

    out = console()
    if not told:
        out.print(f"Nothing is due for {name}.")
        return
    table = Table("bin", "correction", "would be", "why", box=None)
    for each in told:
        correction = f"{'undo: ' if each.kind == 'reverse' else ''}{lines_words(each.lines)}"
        colour = {"posted": "green", "found": "green"}.get(each.would, "red")
        table.add_row(each.bin, correction, f"[{colour}]{each.would}[/]", each.reason)
    out.print(table)
    out.print("Nothing was written or sent.")
