"""`bintally erp status`, `dead-letters` and `show`."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bintally.cli.common import Json, LedgerOption, console, emit_json
from bintally.cli.erp.common import Name, ago, lines_words, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from bintally.inventory.erp.dead_letters import DeadLetter
    from bintally.inventory.erp.status import PostingShown, Status

_COLOURS = {"posted": "green", "stale": "red", "refused": "red", "waiting": "yellow"}


def status(name: Name = None, ledger: LedgerOption = None, json_output: Json = False) -> None:
    """Show what waits for stock systems, what needs a person, and when something last went through.

    Exit code 1: a person must act, or for an hour a stock system has been away, or a correction has waited (also while
    paused).

    Example: `bintally erp status`
    """
    from bintally.database.types import now
    from bintally.inventory.erp.status import statuses
    from bintally.inventory.ledger import Ledger
    from bintally.records import to_plain
    from bintally.settings import ledger_place

    with Ledger.open(ledger_place(ledger)) as opened, opened.read() as connection:
        found = statuses(connection, at=now(), name=name)
    if json_output:
        emit_json([{**to_plain(each), "needs_person": each.needs_person} for each in found])
    elif not found:
        console().print("No stock system is connected: [cyan]bintally erp connect NAME KIND[/]")
    else:
        _show_statuses(found)
    if any(each.needs_person for each in found):
        raise typer.Exit(1)


def dead_letters(name: Name = None, ledger: LedgerOption = None, json_output: Json = False) -> None:
    """List postings that a person has to act on: stale ones, and those that were refused. Exit code 1: there are some.

    Stale: the stock system's stock is not what the correction starts from. Each holds up later ones of its bin.

    Example: `bintally erp dead-letters`
    """
    from bintally.inventory.erp.connections import connection_of
    from bintally.inventory.erp.dead_letters import dead_letters as waiting
    from bintally.inventory.ledger import Ledger
    from bintally.records import to_plain
    from bintally.settings import ledger_place

    with Ledger.open(ledger_place(ledger)) as opened, opened.read() as connection:
        found = waiting(connection, None if name is None else connection_of(connection, name))
    if json_output:
        emit_json(to_plain(found))
    else:
        _show_dead(found)
    if found:
        raise typer.Exit(1)


def show(
    posting: Annotated[str, typer.Argument(metavar="ID", help="Its number, or its key in the stock system.")],
    ledger: LedgerOption = None,
    json_output: Json = False,
) -> None:
    """Show a posting and all that happened to it, step by step.

    Example: `bintally erp show 17`
    """
    from bintally.inventory.erp.status import show as shown_of
    from bintally.inventory.ledger import Ledger
    from bintally.records import to_plain
    from bintally.settings import ledger_place

    with Ledger.open(ledger_place(ledger)) as opened, opened.read() as connection:
        found = shown_of(connection, posting)
    if json_output:
        emit_json(to_plain(found))
    else:
        _show_posting(found)


def _show_statuses(found: "list[Status]") -> None:
    from rich.table import Table

    out = console()
    table = Table(
        "name", "kind", "site", "waiting", "stale", "refused", "dropped", "posted", "oldest", "last posted", box=None
    )
    for column in table.columns[3:8]:
        column.justify = "right"
    for each in found:
        counts, to = each.counts, each.connection
        dead = [f"[red]{counts[state]:,}[/]" if counts.get(state) else "0" for state in ("stale", "refused")]
        oldest = "" if each.oldest is None else ago(each.oldest, each.at)
        waiting = f"{each.waiting + each.unheard:,}"
        ended = [f"{counts.get(state, 0):,}" for state in ("dropped", "posted")]
        table.add_row(to.name, to.kind, each.site, waiting, *dead, *ended, oldest, ago(each.last_posted, each.at))
    out.print(table)
    for each in found:
        _say_more(out, each)


def _say_more(out: "Console", each: "Status") -> None:
    to = each.connection
    if to.paused_at is not None:
        out.print(
            f"[yellow]{to.name} is paused[/] since {shown(to.paused_at)} UTC: [cyan]bintally erp resume {to.name}[/]"
        )
    if to.away_since is not None:
        out.print(f"[red]{to.name} is away[/] since {shown(to.away_since)} UTC:", end=" ")
        out.print(to.away_why, markup=False)
    if each.is_late and to.paused_at is None:
        out.print(f"[red]What waits for {to.name} has waited for long[/]: [cyan]bintally erp post {to.name}[/]")
    if each.dead:
        out.print(f"[red]{each.dead:,} of {to.name} need a person[/]: [cyan]bintally erp dead-letters[/]")
    if each.is_posting:
        out.print(f"[dim]{to.name} is being posted to just now.[/]")


def _show_dead(found: "list[DeadLetter]") -> None:
    from rich.table import Table
    from rich.text import Text

    out = console()
    if not found:
        out.print("Nothing waits for a person.")
        return
    table = Table(box=None)
    for name in ("id", "to", "bin", "correction", "state", "since (UTC)", "behind", "why"):
        table.add_column(name, justify="right" if name in ("id", "behind") else "left", no_wrap=name in ("id", "bin"))
    for each in found:
        state = each.state if each.is_known else "unknown"
        correction = f"{'undo: ' if each.kind == 'reverse' else ''}{lines_words(each.lines)}"
        since = f"{each.since:%m-%d %H:%M}"
        row = (str(each.id), each.connection, Text(each.bin), Text(correction), Text(state, "red"), since)
        table.add_row(*row, str(each.behind or ""), Text(each.reason))
    out.print(table)
    out.print(
        "Count the bin anew: [cyan]bintally erp recount ID[/]; try again: [cyan]retry ID[/]; "
        "give up: [cyan]drop ID --reason WHY[/]"
    )


def _show_posting(found: "PostingShown") -> None:
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    out, posting = console(), found.posting
    colour = _COLOURS.get(found.state, "dim")
    number = f" as {escape(found.reference)}" if found.reference else ""
    out.print(f"Posting {found.id} to {found.connection}: [{colour}]{found.state}[/]{number}")
    what = "takes back" if posting.kind == "reverse" else "corrects"
    who = f"{posting.by}, approved by {posting.approved_by}" if posting.approved_by else posting.by
    out.print(f"It {what} bin {posting.bin} of {posting.site}: {lines_words(posting.lines)}", markup=False)
    out.print(f"counted {shown(posting.counted_at)} UTC by {who}; key {posting.key}", markup=False)
    if found.reason:
        out.print(f"why: {found.reason}", markup=False)
    if posting.note:
        out.print(f"note: {posting.note}", markup=False)
    table = Table("when (UTC)", "step", "", box=None)
    for step in found.steps:
        table.add_row(shown(step.at), step.step, Text(_step_words(step.body)))
    out.print(table)


def _step_words(body: "Mapping[str, Any]") -> str:
    """What a step says, without what is empty."""
    import msgspec

    from bintally.inventory.erp.protocol import Line

    words = []
    for key, value in body.items():
        if key == "lines":
            words.append(lines_words(msgspec.convert(value, list[Line])))
        elif value not in ("", None, {}):
            told = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
            words.append(f"{key} {told}")
    return "; ".join(words)
