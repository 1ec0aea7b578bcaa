"""`Books`: what a relay writes down, each thing in a transaction of one who still has the lease."""

import random
from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from bintally.database.leases import Lease
from bintally.errors import ErpError, ErpUnavailableError
from bintally.inventory.erp import connections, filling, outbox
from bintally.inventory.erp.connections import ErpConnection
from bintally.inventory.erp.expected import Moves, moves_of
from bintally.inventory.erp.outbox import Due
from bintally.inventory.erp.protocol import About, Answer, Connector, Draft, Line
from bintally.inventory.ledger import Ledger

AT_ONCE: Final = 50
"""Postings in one round."""

PATIENCE: Final = timedelta(days=3)
"""A posting that has failed for so long, and `TRIES` times while the stock system was there, is for a person."""
TRIES: Final = 10

_FIRST_PAUSE_S: Final = 2.0
_LONGEST_PAUSE_S: Final = 300.0
_LONGEST_GIVEN_S: Final = outbox.LONGEST_PAUSE.total_seconds()  # a stock system may say anything
_DOUBLINGS: Final = 10


def reach(ledger: Ledger, to: ErpConnection, connector: Connector, clock: Callable[[], datetime]) -> About:
    """The stock system that answers; whether it does is written down.

    Raises:
        ErpError: it can't be reached, or does not let us in.
    """
    try:
        about = connector.about()
    except ErpError as error:
        with ledger.write() as connection:
            connections.note_away(connection, to, error=error, at=clock())
        raise
    with ledger.write() as connection:
        connections.note_reached(connection, to, at=clock())
    return about


class Books:
    """The ledger's side of a relay. What has ended is taken out of `left`, the postings by their keys."""

    def __init__(
        self, ledger: Ledger, to: ErpConnection, lease: Lease, clock: Callable[[], datetime], *, finds: bool = True
    ) -> None:
        self.to = to
        self._ledger, self._lease, self._clock, self._finds = ledger, lease, clock, finds
        self._done, self._why = Tally[str](), ""

    def done(self) -> dict[str, Any]:
        """How many postings came to what, and why the last one failed."""
        return {name: self._done[name] for name in ("made", "posted", "stale", "refused", "failed")} | {
            "why": self._why
        }

    def begin(self) -> list[Due]:
        """What is due, begun; nothing where the connection is paused."""
        while True:
            with self._write() as connection:
                if connections.connection_of(connection, self.to.name).paused_at is not None:
                    return []
                self._done["made"] += filling.fill(connection, self.to, at=self._clock())
                if not filling.is_behind(connection, self.to):
                    if not self._finds:
                        outbox.end_unknown(connection, self.to, at=self._clock())
                    return outbox.due(connection, self.to, at=self._clock(), limit=AT_ONCE)

    def must_hold(self) -> None:
        """Looks whether nobody has taken over.

        Raises:
            ConflictError: somebody has.
        """
        with self._write():
            pass

    def undone(self, left: dict[str, Due]) -> None:
        """Cancels what was not carried out, and is to be taken back; so nothing has to be."""
        with self._write() as connection:
            taken_back = outbox.taken_back(connection, [each.id for each in left.values()])
            outbox.end(connection, sorted(taken_back), "cancelled", outbox.UNDONE, self._clock())
        for key in [key for key, each in left.items() if each.id in taken_back]:
            del left[key]

    def moves(self, postings: Iterable[Due]) -> dict[str, Moves]:
        """What was picked and stowed in postings' bins, by the postings' keys."""
        with self._ledger.read() as connection:
            return {each.posting.key: moves_of(connection, each) for each in postings}

    def prepared(self, left: Mapping[str, Due], drafts: Sequence[Draft], lines: Mapping[str, tuple[Line, ...]]) -> None:
        """Drafts, and what they are about."""
        with self._write() as connection:
            told = {left[each.key].id: (each.reference, msgspec.to_builtins(lines[each.key])) for each in drafts}
            outbox.prepared(connection, told, at=self._clock())

    def posted(self, left: dict[str, Due], done: Sequence[Draft | Answer]) -> None:
        """What the stock system says it has carried out."""
        told = {each.key: each for each in done if each.key in left}
        self.settle(left, "posted", dict.fromkeys(told, ""), told)

    def settle(
        self,
        left: dict[str, Due],
        state: str,
        reasons: Mapping[str, str],
        answers: Mapping[str, Draft | Answer] | None = None,
    ) -> None:
        """How postings ended."""
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
                    is_known=self._finds or not outbox.was_unanswered(connection, left[key].id),
                )
        for key in reasons:
            del left[key]
        self._done[state] += len(reasons)

    def postpone(
        self, failed: Iterable[Due], error: ErpError, *, is_failure: bool, answered: Collection[str] = ()
    ) -> None:
        """What will be tried again; `is_failure`: not the stock system was away, but these failed.

        `answered`: keys of those that it says it has not carried out.
        """
        failed, at = list(failed), self._clock()
        if not failed:
            return
        given = error.retry_after_s if isinstance(error, ErpUnavailableError) else None
        with self._write() as connection:
            for each in failed:
                pause_s = _pause_s(each.failed) if given is None else min(max(given, 0.0), _LONGEST_GIVEN_S)
                outbox.postpone(
                    connection,
                    each,
                    reason=str(error),
                    next_at=at + timedelta(seconds=pause_s),
                    at=at,
                    is_failure=is_failure,
                    is_answered=each.posting.key in answered,
                    is_over=is_failure and each.made_at + PATIENCE < at and each.failed + 1 >= TRIES,
                )
        self._done["failed"] += len(failed)
        self._why = str(error)

    def away(self, error: ErpError) -> None:
        """The stock system can't be reached any more."""
        with self._write() as connection:
            connections.note_away(connection, self.to, error=error, at=self._clock())

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """A transaction of one who still has the lease."""
        with self._ledger.write() as connection:
            self._lease.must_hold(connection)
            yield connection


def _pause_s(failed: int) -> float:
    """Exponential, with jitter, so that not all come back at once (Brooker 2015, Exponential Backoff And Jitter)."""
    return min(_FIRST_PAUSE_S * 2.0 ** min(failed, _DOUBLINGS), _LONGEST_PAUSE_S) * random.uniform(0.5, 1)
