"""`post`: sends what is due to a stock system, each correction exactly once, whatever dies on the way.

One relay works on a connection at a time. Each round is

1. a transaction: the outbox is filled, and the next posting of each bin counts as begun (`filling.fill`, `outbox.due`);
2. all of them are looked for by their keys, since the ledger may have died, or have been restored from a backup, after
   they were sent. Carried out already? then that is its end. A draft that is left over is thrown away, and looked for
   once more: what is thrown away can't be carried out any more;
3. the stock system's stock is read. Where it is not what the correction starts from, and what was picked and stowed
   since does not explain it, the correction is stale: a person looks (`expected.rebased`);
4. drafts are prepared, and their numbers written down;
5. the drafts are carried out, and the answers written down.

Killed between any two, the next round begins with the same keys. What was sent may arrive after its sender's death: a
draft that comes late changes nothing, and one that is carried out late is the one that is found. A relay that was
stopped for longer than its lease lasts finds that out before it carries anything out (4), and what it has prepared has
been thrown away by the one that came after it (2).
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import chain
from typing import Final

import msgspec

from bintally.database import leases
from bintally.database.types import now
from bintally.errors import ErpAccessError, ErpError, ErpRefusedError
from bintally.inventory.erp import connections
from bintally.inventory.erp.books import Books, reach
from bintally.inventory.erp.connections import ErpConnection
from bintally.inventory.erp.expected import Fits, fits
from bintally.inventory.erp.guarded import Guarded
from bintally.inventory.erp.outbox import Due
from bintally.inventory.erp.protocol import About, Answer, Connector, Draft, Line, Posting
from bintally.inventory.ledger import Ledger
from bintally.inventory.people import SYSTEM
from bintally.progress import SILENT, Progress

_FAILED_IN_A_ROW: Final = 5  # batches; then the stock system is left alone until the next run
_THROWN_AWAY: Final = 3  # times, before a draft that stays counts as a failure
_MOVED: Final = 3  # times stock may move between the reading and the carrying out, before a person looks


class PostReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did. `failed`: tries that came to nothing and will be made again; `why`: the last one's reason.

    `paused`: nothing was sent, since somebody has stopped the connection, or the stock system wants no more.
    """

    connection: str
    made: int  # new postings
    posted: int
    stale: int
    refused: int
    failed: int
    why: str = ""
    paused: bool = False


def post(
    ledger: Ledger,
    to: ErpConnection,
    connector: Connector,
    *,
    clock: Callable[[], datetime] = now,
    lease_s: float = leases.SECONDS,
    is_over: Callable[[], bool] = lambda: False,
    progress: Progress = SILENT,
) -> PostReport:
    """Sends all that is due, until nothing is, or `is_over` says so between two batches. Paused, it sends nothing.

    A stock system that goes away, or fails with all it is sent, is left alone until the next run.

    Raises:
        ErpError: the stock system can't be reached, or does not let us in; nothing was begun.
        ConflictError: another relay is at it.
        StorageError: the ledger can't be reached or written; run it again.
    """
    guarded = Guarded(connector)
    with ledger.read() as connection:
        if connections.connection_of(connection, to.name).paused_at is not None:
            return PostReport(connection=to.name, made=0, posted=0, stale=0, refused=0, failed=0, paused=True)
    about = reach(ledger, to, guarded, clock)
    busy = f"Another `bintally erp post` is at work on {to.name}."
    with (
        leases.held(ledger, f"erp:{to.name}", by=SYSTEM, seconds=lease_s, busy=busy) as lease,
        progress.task("post", total=None, unit="postings") as task,
    ):
        relay = _Relay(Books(ledger, to, lease, clock, finds=about.finds), guarded, about)
        while not is_over() and not relay.is_over and (begun := relay.books.begin()):
            for batch in _batches(begun):
                if is_over() or relay.is_over:
                    break
                relay.work(batch)
                task.advance(len(batch))
    return PostReport(connection=to.name, **relay.books.done())


def _batches(begun: Sequence[Due]) -> Iterable[Sequence[Due]]:
    """All that has not failed together; what has, alone, so that it makes no other fail."""
    together = [each for each in begun if not each.failed]
    return chain([together] if together else [], ([each] for each in begun if each.failed))


class _Relay:
    """What works on one connection. Each step is written down before the next begins."""

    def __init__(self, books: Books, connector: Connector, about: About) -> None:
        self.books, self.is_over = books, False
        self._connector, self._about, self._failed_in_a_row = connector, about, 0

    def work(self, batch: Sequence[Due]) -> None:
        """Brings each of `batch` to an end, or postpones it."""
        left = {each.posting.key: each for each in batch}
        try:
            self._end_found(left)
            self._end_undone(left)
            drafts = self._prepare(left, self._fitting(left))
            self._commit(left, drafts)
        except ErpError as error:
            self._failed(left, error)
        else:
            self._failed_in_a_row = 0

    def _end_found(self, left: dict[str, Due]) -> None:
        """Ends what was carried out before."""
        found = self._connector.find(list(left))
        self.books.posted(left, [draft for draft in found.values() if draft.fate == "done"])
        self._throw_away(left, [draft for draft in found.values() if draft.fate == "draft"])

    def _end_undone(self, left: dict[str, Due]) -> None:
        """Ends what was undone meanwhile: what was looked for and not found was not carried out, and will not be."""
        if self._about.finds:
            self.books.undone(left)

    def _fitting(self, left: dict[str, Due]) -> list[Posting]:
        """What fits the stock that is there now, as it is to be posted."""
        for_nothing = [key for key, each in left.items() if not each.posting.lines]
        self.books.settle(left, "posted", dict.fromkeys(for_nothing, "what it takes back has changed nothing"))
        if not (self._about.reads and left):
            return [each.posting for each in left.values()]
        stocks = {
            stock.bin: stock for stock in self._connector.read(sorted({each.posting.bin for each in left.values()}))
        }
        moves = self.books.moves(left.values())
        found: dict[str, Fits] = {
            key: fits(each.posting, stocks.get(each.posting.bin), moves[key], name=self.books.to.name)
            for key, each in left.items()
        }
        for key, fit in found.items():
            if fit.lines or fit.state == "posted":  # as it stands now
                posting = msgspec.structs.replace(left[key].posting, lines=fit.lines)
                left[key] = msgspec.structs.replace(left[key], posting=posting)
        for state in ("posted", "stale", "refused"):
            self.books.settle(left, state, {key: each.reason for key, each in found.items() if each.state == state})
        return [each.posting for each in left.values()]

    def _prepare(self, left: dict[str, Due], postings: Sequence[Posting]) -> list[Draft]:
        if not postings:
            return []
        self.books.must_hold()  # whoever has taken over has drafts of the same keys
        told = self._connector.prepare(postings)
        drafts = {key: draft for key, draft in told.items() if draft.fate != "refused"}
        lines: dict[str, tuple[Line, ...]] = {each.key: each.lines for each in postings}
        self.books.prepared(left, list(drafts.values()), lines)
        why = {key: told[key].reason if key in told else "" for key in lines if key not in drafts}
        self.books.settle(left, "refused", {key: reason or "it made no draft" for key, reason in why.items()})
        self.books.posted(left, [draft for draft in drafts.values() if draft.fate == "done"])
        return [draft for draft in drafts.values() if draft.fate != "done"]

    def _commit(self, left: dict[str, Due], drafts: Sequence[Draft]) -> None:
        if not drafts:
            return
        answers = self._connector.commit(drafts)
        self.books.posted(left, [answer for answer in answers.values() if answer.outcome == "done"])
        answered = [draft for draft in drafts if draft.key in left and draft.key in answers]
        gone = self._gone(answered)
        self._throw_away(left, answered)
        ended = {key: answer for key, answer in answers.items() if key in left}
        for state in ("refused", "stale"):
            of_state = {
                key: answer for key, answer in ended.items() if _ends(answer, left[key], is_gone=key in gone) == state
            }
            self.books.settle(left, state, {key: answer.reason for key, answer in of_state.items()}, of_state)
            ended = {key: answer for key, answer in ended.items() if key in left}
        self.books.postpone(left.values(), _why(ended), is_failure=True, answered=ended.keys())

    def _gone(self, drafts: Sequence[Draft]) -> set[str]:
        """Keys of drafts that somebody else has thrown away."""
        if not (self._about.finds and drafts):
            return set()
        found = self._connector.find([draft.key for draft in drafts])
        return {draft.key for draft in drafts if draft.key not in found}

    def _throw_away(self, left: dict[str, Due], drafts: Sequence[Draft]) -> None:
        """Throws drafts away; one that was carried out nevertheless has ended.

        Raises:
            ErpRefusedError: one stays, and might still be carried out.
        """
        for _ in range(_THROWN_AWAY):  # of one key there may be several
            if not drafts:
                return
            self.books.must_hold()  # else they are those of the one that has taken over
            self._connector.cancel(drafts)
            found = self._connector.find([draft.key for draft in drafts])
            self.books.posted(left, [draft for draft in found.values() if draft.fate == "done"])
            drafts = [draft for draft in found.values() if draft.fate == "draft"]
        if drafts:
            raise ErpRefusedError(
                f"{self.books.to.name} keeps a draft that should be thrown away ({drafts[0].reference}).",
                hint="Delete it there.",
            )

    def _failed(self, left: dict[str, Due], error: ErpError) -> None:
        """Finds out whose failure it was: the whole stock system's, or a posting's."""
        self._failed_in_a_row += 1
        try:
            self._connector.about()
        except ErpError as away:
            self.is_over = True
            self.books.postpone(left.values(), away, is_failure=False)
            self.books.away(away)
            return
        self.is_over = self._failed_in_a_row >= _FAILED_IN_A_ROW
        is_refusal = isinstance(error, ErpRefusedError) and not isinstance(error, ErpAccessError)
        if is_refusal and len(left) == 1 and self._is_not_done(left):
            self.books.settle(left, "refused", dict.fromkeys(list(left), str(error)))
        self.books.postpone(left.values(), error, is_failure=True)

    def _is_not_done(self, left: dict[str, Due]) -> bool:
        """Whether it is sure that what is left was not carried out, and will not be."""
        try:
            self._end_found(left)
        except ErpError:
            return False
        return bool(left)


def _ends(answer: Answer, each: Due, *, is_gone: bool) -> str | None:
    """The state that an answer ends a posting with; None: it is tried again, on the stock that is there by then."""
    if (is_gone or answer.outcome == "stale") and each.failed < _MOVED:
        return None
    return answer.outcome


def _why(answers: dict[str, Answer]) -> ErpError:
    return ErpError(next((answer.reason for answer in answers.values()), "") or "it did not answer")
