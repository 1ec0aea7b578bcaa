"""`bintally erp retry`, `drop` and `recount`: what people do about postings that can't go out."""

from typing import Annotated

import typer

from bintally.cli.common import AsOption, Json, LedgerOption, console, emit_json
from bintally.cli.erp.common import Note, Number

Anyway = Annotated[bool, typer.Option("--anyway", help="Also where nobody knows whether it was carried out.")]


def retry(
    posting_id: Number, note: Note = "", ledger: LedgerOption = None, person: AsOption = None, json_output: Json = False
) -> None:
    """Try a posting again, as an approver. It is looked for first: what was carried out is not posted twice.

    Example: `bintally erp retry 17 --as anna --note "the product is there now"`
    """
    from bintally.database.types import now
    from bintally.inventory.erp import dead_letters
    from bintally.inventory.ledger import Ledger
    from bintally.inventory.people import person_of
    from bintally.settings import acting_person, ledger_place

    with Ledger.open(ledger_place(ledger)) as opened, opened.write() as connection:
        by = person_of(connection, acting_person(person))
        dead_letters.retry(connection, posting_id, by=by, at=now(), note=note)
    _tell({"posting": posting_id, "state": "waiting"}, "It goes out with the next `bintally erp post`.", json_output)


def drop(
    posting_id: Number,
    reason: Annotated[str, typer.Option(help="Why, for whoever reads it later.")],
    anyway: Anyway = False,
    ledger: LedgerOption = None,
    person: AsOption = None,
    json_output: Json = False,
) -> None:
    """Give a posting up, as an approver: the stock system is not told.

    Example: `bintally erp drop 17 --reason "corrected by hand there" --as anna`
    """
    from bintally.database.types import now
    from bintally.inventory.erp import dead_letters
    from bintally.inventory.ledger import Ledger
    from bintally.inventory.people import person_of
    from bintally.settings import acting_person, ledger_place

    with Ledger.open(ledger_place(ledger)) as opened, opened.write() as connection:
        by = person_of(connection, acting_person(person))
        dead_letters.drop(connection, posting_id, by=by, reason=reason, at=now(), anyway=anyway)
    words = "Dropped. `bintally erp pull` takes in what the stock system says of that bin."
    _tell({"posting": posting_id, "state": "dropped"}, words, json_output)


def recount(
    posting_id: Number,
    anyway: Anyway = False,
    ledger: LedgerOption = None,
    person: AsOption = None,
    json_output: Json = False,
) -> None:
    """Have the bin counted anew, as an approver: a blind review is opened, against what the stock system says by now.

    All that waits for the bin is given up for it.

    Example: `bintally erp recount 17 --as anna`
    """
    from bintally.inventory.erp.run import recount_bin
    from bintally.inventory.ledger import Ledger
    from bintally.records import to_plain
    from bintally.settings import acting_person, ledger_place

    with Ledger.open(ledger_place(ledger)) as opened:
        told = recount_bin(ledger=opened, posting_id=posting_id, by=acting_person(person), anyway=anyway)
    words = (
        f"Review {told.review_id} waits for somebody to count at the bin, not by its old photo: `b COUNT` in "
        "`bintally review`, or `decide` with --counted-at TIME. A count that differs takes a second one."
    )
    _tell(to_plain(told), words, json_output)


def _tell(document: object, words: str, json_output: bool) -> None:
    if json_output:
        emit_json(document)
    else:
        console().print(words, markup=False)
