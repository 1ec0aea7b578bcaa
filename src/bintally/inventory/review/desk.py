"""One person at work at one site: the next review, the decision, the way back; each a transaction of its own."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from bintally.database.types import now
from bintally.errors import ConflictError
from bintally.inventory.ledger import Ledger, site_of
from bintally.inventory.people import person_of
from bintally.inventory.review import approvals, decisions, leases, listing, undo
from bintally.inventory.review.decisions import Decided
from bintally.inventory.review.findings import Kind
from bintally.inventory.review.leases import Leased


class Desk:
    """What a terminal or a page does for a person. `clock`: what time it is."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        person: str,
        site: str | None = None,
        minutes: float = leases.MINUTES,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._ledger, self._minutes, self._clock = ledger, minutes, clock
        with ledger.read() as connection:
            self.site, self.person = site_of(connection, site), person_of(connection, person)
        self.person.need("reviewer", site_id=self.site.id)

    def next(self, *, skip: Collection[int] = (), review_id: int | None = None) -> Leased | None:
        """What the person has taken and not finished, else the next free review."""
        at = self._clock()
        with self._ledger.write() as connection:
            for mine in leases.held(connection, self.person, self.site, at=at):
                if mine.review.review_id not in skip and review_id in (None, mine.review.review_id):
                    return mine
            return leases.take(
                connection, self.person, self.site, at=at, minutes=self._minutes, review_id=review_id, skip=skip
            )

    def this(self, review_id: int) -> Leased:
        """This review, whatever else waits.

        Raises:
            UsageError, ConflictError: there is none, or the person can't have it now.
        """
        taken = self.next(review_id=review_id)
        if taken is None:
            with self._ledger.write() as connection:
                raise leases.why_not(connection, review_id, self.person, self.site, at=self._clock())
        return taken

    def decide(
        self,
        taken: Leased,
        kind: Kind,
        *,
        count: int | None = None,
        lines: Mapping[str, int] | None = None,
        note: str = "",
        at_the_bin: bool = False,
    ) -> Decided:
        """Decides what was taken; where the lease has run out and nobody else took it, it is taken again first.

        Raises:
            UsageError, ConflictError: as `decisions.decide`.
        """
        at, review_id = self._clock(), taken.review.review_id
        said: dict[str, Any] = {"count": count, "lines": lines, "note": note, "counted_at": at if at_the_bin else None}
        with self._ledger.write() as connection:
            token = taken.token
            if taken.until <= at:
                again = leases.take(connection, self.person, self.site, at=at, review_id=review_id)
                if again is None:
                    raise ConflictError(f"The time for bin {taken.review.bin} ran out.", hint="Take the next one.")
                token = again.token
            return decisions.decide(
                connection, review_id=review_id, person=self.person, token=token, kind=kind, at=at, **said
            )

    def give_back(self, taken: Leased) -> bool:
        """Lets somebody else have it."""
        with self._ledger.write() as connection:
            return leases.give_back(connection, review_id=taken.review.review_id, person=self.person, token=taken.token)

    def undo(self, decision_id: int | None = None, *, note: str = "") -> Decided | None:
        """Takes a decision back (None: the person's last); None: there is none."""
        with self._ledger.write() as connection:
            if decision_id is None:
                decision_id = undo.last_of(connection, self.person, self.site)
            if decision_id is None:
                return None
            return undo.undo(connection, decision_id=decision_id, person=self.person, note=note, at=self._clock())

    def second(self, review_id: int, *, approve: bool, note: str = "") -> Decided:
        """Says yes or no to somebody else's correction."""
        say = approvals.approve if approve else approvals.reject
        with self._ledger.write() as connection:
            return say(connection, review_id=review_id, person=self.person, note=note, at=self._clock())

    def release(self, review_id: int) -> bool:
        """Takes a review from whoever has it."""
        with self._ledger.write() as connection:
            return leases.release(connection, review_id=review_id, by=self.person, at=self._clock())

    def waits(self) -> tuple[listing.Counts, int]:
        """How much waits at the site, and how much of what is open is not for this person now."""
        at = self._clock()
        with self._ledger.read() as connection:
            return (
                listing.counts(connection, self.site, at=at),
                leases.for_others(connection, self.person, self.site, at=at),
            )
