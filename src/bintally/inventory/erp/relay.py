"""`post`: sends what is due to a stock system, each correction exactly once, whatever dies on the way.

One relay works on a connection at a time. Each round is

1. a transaction: the outbox is filled, and the next posting of each bin counts as begun (`outbox.fill`, `outbox.due`);
2. what was begun before is looked for by its key: carried out already? then that is its end. A draft that is left over
   is thrown away, and looked for once more: what is thrown away can't be carried out any more;
3. the stock system's stock is read. Where it is not what the correction starts from, and what was picked and stowed
   since does not explain it, the correction is stale: a person looks (`expected.rebased`);
4. drafts are prepared, and their numbers written down;
5. the drafts are carried out, and the answers written down.

Killed between any two, the next round begins with the same keys. What was sent may arrive after its sender's death: a
draft that comes late changes nothing, and one that is carried out late is the one that is found.
"""

import random
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import chain
from typing import Final

import msgspec
from sqlalchemy import Connection

from bintally.database.types import now
from bintally.errors import ErpError, ErpUnavailableError
from bintally.inventory.erp import outbox
from bintally.inventory.erp.connections import ErpConnection
from bintally.inventory.erp.expected import held_words, moved_since, rebased
from bintally.inventory.erp.outbox import Due
from bintally.inventory.erp.protocol import Answer, Connector, Draft, Posting
from bintally.inventory.ledger import Ledger
from bintally.inventory.people import SYSTEM
from bintally.progress import SILENT, Progress
from bintally.registry import leases

AT_ONCE: Final = 50
"""Postings in one round."""

PATIENCE: Final = timedelta(days=3)
"""A posting that has failed for so long, and `TRIES` times while the stock system was there, is for a person."""
TRIES: Final = 10

_FIRST_PAUSE_S: Final = 2.0
_LONGEST_PAUSE_S: Final = 300.0
_DOUBLINGS: Final = 10


class PostReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did. `failed`: tries that came to nothing and will be made again; `why`: the last one's reason."""

    connection: str
    made: int  # new postings
    posted: int
    stale: int
    refused: int
    failed: int
    why: str = ""


def post(
    ledger: Ledger,
    to: ErpConnection,
    connector: Connector,
    *,
    clock: Callable[[], datetime] = now,
    lease_s: float = leases.SECONDS,
    progress: Progress = SILENT,
) -> PostReport:
    """Sends all that is due, until nothing is.

    Raises:
        ErpError: the stock system can't be reached, or does not let us in; nothing was begun.
        ConflictError: another relay is at it.
        StorageError: the ledger can't be reached or written; run it again.
    """
    reads = connector.about().reads
    with (
        leases.held(ledger, f"erp:{to.name}", by=SYSTEM, seconds=lease_s) as lease,
        progress.task("post", total=None, unit="postings") as task,
    ):
        relay = _Relay(ledger, to, connector, lease, clock, reads=reads)
        while begun := relay.begin():
            for batch in _batches(begun):
                relay.work(batch)
                task.advance(len(batch))
    return relay.report()


def _batches(begun: Sequence[Due]) -> Iterable[Sequence[Due]]:
    """All that has not failed together; what has, alone, so that it makes no other fail."""
    together = [each for each in begun if not each.failed]
    return chain([together] if together else [], ([each] for each in begun if each.failed))


class _Relay:
    """What works on one connection. Each step is written down before the next begins."""

    def __init__(
        self,
        ledger: Ledger,
        to: ErpConnection,
        connector: Connector,
        lease: leases.Lease,
        clock: Callable[[], datetime],
        *,
        reads: bool,
    ) -> None:
        self._ledger, self._to, self._connector, self._lease, self._clock = ledger, to, connector, lease, clock
        self._reads = reads
        self._done, self._why = Tally[str](), ""

    def report(self) -> PostReport:
        counts = {name: self._done[name] for name in ("made", "posted", "stale", "refused", "failed")}
        return PostReport(connection=self._to.name, why=self._why, **counts)

    def begin(self) -> list[Due]:
        """What is due, begun."""
        with self._write() as connection:
            self._done["made"] += outbox.fill(connection, self._to, at=self._clock())
            return outbox.due(connection, self._to, at=self._clock(), limit=AT_ONCE)

    def work(self, batch: Sequence[Due]) -> None:
        """Brings each of `batch` to an end, or postpones it."""
        left = {each.posting.key: each for each in batch}
        try:
            self._end_found(left)
            drafts = self._prepare(left, self._fitting(left))
            self._commit(left, drafts)
        except ErpError as error:
            self._postpone(left.values(), error)

    def _end_found(self, left: dict[str, Due]) -> None:
        """Ends what was carried out when it was begun before."""
        begun_before = [key for key, each in left.items() if each.tried]
        if not begun_before:
            return
        found = self._connector.find(begun_before)
        self._throw_away(left, [draft for draft in found.values() if draft.fate == "draft"])
        self._posted(left, [draft for draft in found.values() if draft.fate == "done"])

    def _fitting(self, left: dict[str, Due]) -> list[Posting]:
        """What fits the stock that is there now; what does not is stale."""
        postings = [each.posting for each in left.values()]
        if not (self._reads and postings):
            return postings
        stocks = {stock.bin: stock for stock in self._connector.read(sorted({each.bin for each in postings}))}
        with self._ledger.read() as connection:
            moved = {key: moved_since(connection, each.bin_id, each.posting.counted_at) for key, each in left.items()}
        fitting, stale = [], {}
        for posting in postings:
            stock = stocks.get(posting.bin)
            lines = rebased(posting, stock, moved[posting.key])
            if lines is None:
                stale[posting.key] = f"{self._to.name} says otherwise by now ({held_words(posting, stock)})"
            else:
                fitting.append(msgspec.structs.replace(posting, lines=lines))
        self._settle(left, "stale", stale)
        return fitting

    def _prepare(self, left: dict[str, Due], postings: Sequence[Posting]) -> list[Draft]:
        if not postings:
            return []
        drafts = self._connector.prepare(postings)
        with self._write() as connection:
            outbox.prepared(
                connection,
                {
                    left[each.key].id: (drafts[each.key].reference, msgspec.to_builtins(each.lines))
                    for each in postings
                    if each.key in drafts
                },
                at=self._clock(),
            )
        self._settle(left, "refused", {each.key: "it made no draft" for each in postings if each.key not in drafts})
        return list(drafts.values())

    def _commit(self, left: dict[str, Due], drafts: Sequence[Draft]) -> None:
        if not drafts:
            return
        answers = self._connector.commit(drafts)
        by_key = {draft.key: draft for draft in drafts}
        self._posted(left, [answer for answer in answers.values() if answer.outcome == "done"])
        self._throw_away(left, [by_key[key] for key in answers if key in left])
        refused = {key: answer for key, answer in answers.items() if key in left and answer.outcome == "refused"}
        self._settle(left, "refused", {key: answer.reason for key, answer in refused.items()}, refused)
        if left:  # stock has moved since the drafts were made: others may fit
            why = next((answer.reason for key, answer in answers.items() if key in left), "it did not answer")
            self._postpone(left.values(), ErpUnavailableError(why))

    def _throw_away(self, left: dict[str, Due], drafts: Sequence[Draft]) -> None:
        """Throws drafts away; one that was carried out nevertheless has ended."""
        if not drafts:
            return
        self._connector.cancel(drafts)
        found = self._connector.find([draft.key for draft in drafts])
        self._posted(left, [draft for draft in found.values() if draft.fate == "done"])

    def _posted(self, left: dict[str, Due], done: Sequence[Draft | Answer]) -> None:
        self._settle(left, "posted", {each.key: "" for each in done}, {each.key: each for each in done})

    def _settle(
        self,
        left: dict[str, Due],
        state: str,
        reasons: Mapping[str, str],
        answers: Mapping[str, Draft | Answer] | None = None,
    ) -> None:
        """Writes down how postings ended, and takes them out of `left`."""
        if not reasons:
            return
        with self._write() as connection:
            for key, reason in reasons.items():
                told = (answers or {}).get(key)
                outbox.settle(
                    connection,
                    left[key],
                    state=state,
                    at=self._clock(),
                    reason=reason,
                    reference=told.reference if told else None,
                    body={"answer": dict(told.answer)} if told else {},
                )
        for key in reasons:
            del left[key]
        self._done[state] += len(reasons)

    def _postpone(self, failed: Iterable[Due], error: ErpError) -> None:
        failed, at = list(failed), self._clock()
        given = error.retry_after_s if isinstance(error, ErpUnavailableError) else None
        with self._write() as connection:
            for each in failed:
                next_at = at + timedelta(seconds=_pause_s(each.failed) if given is None else given)
                is_over = each.made_at + PATIENCE < at and each.failed + 1 >= TRIES
                outbox.postpone(connection, each, reason=error.message, next_at=next_at, at=at, is_over=is_over)
        self._done["failed"] += len(failed)
        self._why = str(error)

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """A transaction of one who still has the lease."""
        with self._ledger.write() as connection:
            self._lease.must_hold(connection)
            yield connection


def _pause_s(failed: int) -> float:
    """Exponential, with jitter, so that not all come back at once (Brooker 2015, Exponential Backoff And Jitter)."""
    return min(_FIRST_PAUSE_S * 2.0 ** min(failed, _DOUBLINGS), _LONGEST_PAUSE_S) * random.uniform(0.5, 1)
