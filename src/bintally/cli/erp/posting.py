"""`bintally erp post`."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bintally.cli.common import Json, LedgerOption, console, emit_json, progress_for
from bintally.cli.erp.common import Name, lines_words, seconds_of
from bintally.errors import BintallyError, ErpError

if TYPE_CHECKING:
    from bintally.inventory.erp.rehearsal import Rehearsed
    from bintally.inventory.erp.relay import PostReport


def post(
    name: Name = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent; no correction is.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C or SIGTERM.")] = False,
    every: Annotated[str, typer.Option(metavar="TIME", help="With --watch: how often, such as 30s or 5m.")] = "30s",
    ledger: LedgerOption = None,
    json_output: Json = False,
) -> None:
    """Tell a stock system the corrections that it has not been told, each exactly once, in order for each bin.

    Each is held against what the stock system says first: where that is not what was counted against, it is stale, and
    a person looks. Exit code 1: some need a person now; 2: another `post` is at work on it; 8: the stock
    system is away, or something failed and will be tried again.

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
    else:
        console().print(_paused(report) if report.paused else _words(report), markup=False)
    if report.failed:
        raise typer.Exit(ErpError.exit_code)
    if report.stale or report.refused:
        raise typer.Exit(1)


def _watch(opened: Any, name: str | None, every_s: float, json_output: bool) -> None:
    from bintally.inventory.erp.connections import connection_of
    from bintally.inventory.erp.watch import watch as run

    with opened.read() as connection:
        called = connection_of(connection, name).name
    tell = _tell_json if json_output else Teller(called).tell
    with _stopped_by_signals() as stopping:
        run(opened, name, every_s=every_s, stopping=stopping, tell=tell)


def _tell_json(told: "PostReport | BintallyError") -> None:
    """A line for each run."""
    from bintally.database.types import now
    from bintally.records import to_plain

    body = {"error": told.message, "hint": told.hint} if isinstance(told, BintallyError) else to_plain(told)
    emit_json({"at": to_plain(now()), **body})


class Teller:
    """Tells people what runs have done, and what is wrong once: not again until that has changed."""

    def __init__(self, name: str) -> None:
        self._name, self._wrong = name, ""

    def tell(self, told: "PostReport | BintallyError") -> None:
        """What a run has done, or why it could not."""
        was, self._wrong = self._wrong, self._why(told)
        if self._wrong and self._wrong != was:
            self._say(self._wrong)
        elif was and not self._wrong:
            self._say(f"{self._name} is told corrections again.")
        if not isinstance(told, BintallyError) and (told.posted or told.stale or told.refused or told.failed):
            self._say(_words(told))

    def _why(self, told: "PostReport | BintallyError") -> str:
        if isinstance(told, BintallyError):
            return f"{self._name}: {told}"
        return _paused(told) if told.paused else ""

    def _say(self, words: str) -> None:
        console().print(f"{datetime.now():%H:%M:%S} {words}", markup=False)


def _paused(report: "PostReport") -> str:
    return f"{report.connection} is paused; corrections wait: `bintally erp resume {report.connection}`"


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
    from rich.text import Text

    out = console()
    if not told:
        out.print(f"Nothing is due for {name}.")
        return
    table = Table("bin", "correction", "would be", "why", box=None)
    for each in told:
        correction = f"{'undo: ' if each.kind == 'reverse' else ''}{lines_words(each.lines)}"
        colour = {"posted": "green", "found": "green", "waiting": "yellow"}.get(each.would, "red")
        table.add_row(Text(each.bin), Text(correction), Text(each.would, colour), Text(each.reason))
    out.print(table)
    out.print("No correction was sent, and nothing written down.")
