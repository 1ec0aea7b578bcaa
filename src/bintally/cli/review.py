"""`bintally review`: people look at doubtful bins, in a terminal or through another program."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import MOST_NUMBER, AsOption, Json, LedgerOption, SiteOption, console, emit_json, moment_of
from bintally.errors import UsageError

if TYPE_CHECKING:
    from bintally.inventory.review.approvals import Proposed
    from bintally.inventory.review.desk import Desk
    from bintally.inventory.review.listing import Counts, Waiting

app = typer.Typer()  # its help is the callback's, which tells the keys

Note = Annotated[str, typer.Option("--note", help="Why, for whoever reads it later.")]
Review = Annotated[int, typer.Argument(max=MOST_NUMBER, help="The review's number.")]


@app.callback(invoke_without_command=True)
def review(
    context: typer.Context,
    ledger: LedgerOption = None,
    person: AsOption = None,
    site: SiteOption = None,
    viewer: Annotated[
        str | None, typer.Option(help="Opens photos, such as `feh`; '' opens none; default: the system's viewer.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="How long a bin is kept for you.")] = 10.0,
) -> None:
    """Look at one doubtful bin after the other: the worthiest first, each shown to one person at a time.

    Keys: a accept, c COUNT correct, b COUNT counted at the bin just now, r recount by somebody else, u uncountable,
    n not this bin, s skip, z undo the last, q quit. Answers may also come from a pipe, one a line.

    Example: `bintally review --ledger ledger.sqlite --as rita`
    """
    if context.invoked_subcommand is not None:
        return
    from bintally.cli.review_terminal import Terminal

    with _desk(ledger, person, site, minutes) as desk:
        Terminal(desk, viewer=viewer).run()


@app.command("list")
def list_reviews(
    ledger: LedgerOption = None,
    site: SiteOption = None,
    reason: Annotated[
        str | None, typer.Option(help="Only these: mismatch, uncertain, check, recount, disagreed or planned.")
    ] = None,
    abc: Annotated[str | None, typer.Option("--class", help="Only bins with a product of this ABC class.")] = None,
    product: Annotated[str | None, typer.Option(help="Only bins with this product (SKU).")] = None,
    blind: Annotated[bool | None, typer.Option("--blind/--not-blind", help="Only blind ones, or the others.")] = None,
    waiting: Annotated[bool, typer.Option("--waiting", help="Corrections that wait for a second person.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    json_output: Json = False,
) -> None:
    """List what waits, the worthiest first.

    Example: `bintally review list --class A --limit 20`
    """
    from bintally.database.types import now
    from bintally.inventory.ledger import Ledger, site_of
    from bintally.inventory.review import approvals, listing
    from bintally.records import to_plain
    from bintally.settings import ledger_place

    with Ledger.open(ledger_place(ledger)) as opened, opened.read() as connection:
        of_site = site_of(connection, site)
        counts = listing.counts(connection, of_site, at=now())
        if waiting:
            asked = approvals.proposed(connection, of_site, limit=limit)
        else:
            rows = listing.waiting(
                connection, of_site, limit=limit, reason=reason, abc=abc, product=product, blind=blind
            )
    if json_output:
        emit_json({"counts": to_plain(counts), "reviews": to_plain(asked if waiting else rows)})
    elif waiting:
        _show_proposed(asked)
    else:
        _show_waiting(rows, counts, of_site.currency)


@app.command()
def take(
    ledger: LedgerOption = None,
    person: AsOption = None,
    site: SiteOption = None,
    review_id: Annotated[int | None, typer.Option("--review", max=MOST_NUMBER, help="This one, if it is free.")] = None,
    minutes: Annotated[float, typer.Option(help="How long it is kept for you.")] = 10.0,
    json_output: Json = False,
) -> None:
    """Take the next review: what is to be seen of it, and the token to decide it with.

    What you have taken before and not finished comes first. Exit code 1: nothing waits for you; 2: --review can't be
    had.

    Example: `bintally review take --as rita --json`
    """
    from bintally.cli.review_terminal import describe
    from bintally.records import to_plain

    with _desk(ledger, person, site, minutes) as desk:
        taken = desk.next() if review_id is None else desk.this(review_id)
    if json_output:
        emit_json(None if taken is None else to_plain(taken))
    elif taken is None:
        console().print("Nothing waits for you.")
    else:
        out = console()
        describe(out, taken.review)
        out.print(f"  token    {taken.token} (until {taken.until:%H:%M:%S} UTC)", markup=False)
    if taken is None:
        raise typer.Exit(1)


@app.command()
def give_back(
    review_id: Review,
    token: Annotated[str, typer.Option(help="What `take` told.")],
    ledger: LedgerOption = None,
    person: AsOption = None,
    json_output: Json = False,
) -> None:
    """Let somebody else have a review that you have taken.

    Example: `bintally review give-back 17 --token 5f1c...`
    """
    from bintally.inventory.ledger import Ledger
    from bintally.inventory.people import person_of
    from bintally.inventory.review import leases
    from bintally.settings import acting_person, ledger_place

    with Ledger.open(ledger_place(ledger)) as opened, opened.write() as connection:
        by = person_of(connection, acting_person(person))
        ended = leases.give_back(connection, review_id=review_id, person=by, token=token)
    _tell({"review_id": review_id, "given_back": ended}, "Given back." if ended else "It was not yours.", json_output)


@app.command()
def decide(
    review_id: Review,
    kind: Annotated[str, typer.Argument(help="accept, correct, recount, uncountable or not_this_bin.")],
    token: Annotated[str, typer.Option(help="What `take` told.")],
    count: Annotated[int | None, typer.Option(min=0, help="How many items there are.")] = None,
    line: Annotated[
        list[str] | None, typer.Option(help="How many of one product, such as B00X=2; once for each.")
    ] = None,
    note: Note = "",
    key: Annotated[str | None, typer.Option(help="Decided again with the same key, it stands once.")] = None,
    counted_at: Annotated[
        str | None, typer.Option(help="When it was counted at the bin (ISO 8601); default: read off the photo.")
    ] = None,
    ledger: LedgerOption = None,
    person: AsOption = None,
    json_output: Json = False,
) -> None:
    """Decide a review that you have taken.

    Example: `bintally review decide 17 correct --count 3 --token 5f1c... --as rita`
    """
    from bintally.cli.review_terminal import lines_of
    from bintally.inventory.ledger import Ledger
    from bintally.inventory.people import person_of
    from bintally.inventory.review import decisions
    from bintally.records import to_plain
    from bintally.settings import acting_person, ledger_place

    with Ledger.open(ledger_place(ledger)) as opened, opened.write() as connection:
        told = decisions.decide(
            connection,
            review_id=review_id,
            person=person_of(connection, acting_person(person)),
            token=token,
            kind=kind,  # type: ignore[arg-type]  # checked there
            count=count,
            lines=lines_of(line or []) or None,
            note=note,
            key=key,
            counted_at=moment_of(counted_at),
        )
    words = f"{told.kind}: decision {told.decision_id}, the review is {told.state}."
    if told.kind == "count":  # whether it does is not for who has counted blind
        words += " Where one blind count is not enough, somebody else is asked for another."
    _tell(to_plain(told), words, json_output)


@app.command()
def undo(
    decision: Annotated[
        int | None, typer.Argument(max=MOST_NUMBER, help="The decision's number; default: your last.")
    ] = None,
    note: Note = "",
    ledger: LedgerOption = None,
    person: AsOption = None,
    site: SiteOption = None,
    json_output: Json = False,
) -> None:
    """Take a decision back: yours, or as an approver anybody's.

    Example: `bintally review undo 42 --as rita --note "counted the wrong bin"`
    """
    from bintally.records import to_plain

    with _desk(ledger, person, site) as desk:
        told = desk.undo(decision, note=note)
    if told is None:
        raise UsageError("You have decided nothing that can be undone.", hint="Say the decision's number.")
    _tell(to_plain(told), f"Undone; the review {told.review_id} is {told.state}.", json_output)


@app.command()
def approve(
    review_id: Review,
    reject: Annotated[
        bool, typer.Option("--reject", help="Refuse it: somebody else counts without the record.")
    ] = False,
    note: Note = "",
    ledger: LedgerOption = None,
    person: AsOption = None,
    site: SiteOption = None,
    json_output: Json = False,
) -> None:
    """Be the second person for a correction (`bintally review list --waiting`).

    Example: `bintally review approve 17 --as anna`
    """
    from bintally.records import to_plain

    with _desk(ledger, person, site) as desk:
        told = desk.second(review_id, approve=not reject, note=note)
    words = "Refused; somebody else counts." if reject else "Approved: the record is corrected."
    _tell(to_plain(told), words, json_output)


@app.command()
def release(
    review_id: Review,
    ledger: LedgerOption = None,
    person: AsOption = None,
    site: SiteOption = None,
    json_output: Json = False,
) -> None:
    """Take a review from whoever has it, as an approver.

    Example: `bintally review release 17 --as anna`
    """
    with _desk(ledger, person, site) as desk:
        ended = desk.release(review_id)
    _tell({"review_id": review_id, "released": ended}, "Free again." if ended else "Nobody had it.", json_output)


@app.command()
def labels(
    out: Annotated[Path, typer.Argument(help="FILE.jsonl or FILE.parquet.")],
    since: Annotated[str | None, typer.Option(help="Decided from then on (ISO 8601).")] = None,
    until: Annotated[str | None, typer.Option(help="Decided before then.")] = None,
    ledger: LedgerOption = None,
    site: SiteOption = None,
    json_output: Json = False,
) -> None:
    """Write the photos whose count people told, for training, with where each label comes from.

    Example: `bintally review labels labels.parquet --since 2026-11-01`
    """
    from bintally.inventory.ledger import Ledger, site_of
    from bintally.inventory.review.labels import export_labels
    from bintally.settings import ledger_place

    with Ledger.open(ledger_place(ledger)) as opened, opened.read() as connection:
        many = export_labels(connection, site_of(connection, site), out, since=moment_of(since), until=moment_of(until))
    _tell({"out": str(out), "labels": many}, f"{many:,} labels in {out}.", json_output)


@contextmanager
def _desk(ledger: str | None, person: str | None, site: str | None, minutes: float = 10.0) -> "Iterator[Desk]":
    from bintally.inventory.ledger import Ledger
    from bintally.inventory.review.desk import Desk
    from bintally.settings import acting_person, ledger_place

    with Ledger.open(ledger_place(ledger)) as opened:
        yield Desk(opened, person=acting_person(person), site=site, minutes=minutes)


def _tell(document: object, words: str, json_output: bool) -> None:
    if json_output:
        emit_json(document)
    else:
        console().print(words, markup=False)


def _show_waiting(rows: "list[Waiting]", counts: "Counts", currency: str) -> None:
    from rich.table import Table

    out = console()
    reasons = ", ".join(f"{many:,} {reason}" for reason, many in counts.by_reason.items()) or "nothing"
    out.print(f"{counts.open:,} wait ({reasons}); {counts.taken:,} taken; {counts.waiting:,} for a second person.")
    if not rows:
        return
    table = Table("review", "bin", "why", f"worth ({currency})", "since (UTC)", "taken by", box=None)
    for row in rows:
        why = f"{row.reason}, blind" if row.blind else row.reason
        since = f"{row.opened_at:%Y-%m-%d %H:%M}"
        table.add_row(str(row.review_id), row.bin, why, f"{row.worth:,.2f}", since, row.taken_by or "")
    out.print(table)


def _show_proposed(rows: "list[Proposed]") -> None:
    from rich.table import Table

    out = console()
    if not rows:
        out.print("No correction waits for a second person.")
        return
    table = Table("review", "bin", "asked by", "correction", "note", box=None)
    for row in rows:
        changes = ", ".join(f"{each.product or 'total'} {each.before} -> {each.after}" for each in row.asked.changes)
        table.add_row(str(row.review.review_id), row.review.bin, row.by, changes, row.note)
    out.print(table)
