"""The queue of reviews: what a look is worth, and when a person should look."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, insert, select, update

from bintally.database import audit
from bintally.database.types import now
from bintally.inventory import schema
from bintally.inventory.people import SYSTEM
from bintally.inventory.policy.settings import Costs
from bintally.inventory.review.case import CHECK, lock_bins, stands
from bintally.inventory.verdict import Verdict

_AT_ONCE: Final = 500  # bins in one query
_UNKNOWN: Final = 0.5  # P(wrong) of a record of which nothing is known
_DOUBTFUL: Final = ("mismatch", "uncertain")


class Asked(msgspec.Struct, frozen=True):
    """A bin's newest verdict. `unit_value`: money for one item; None: unknown."""

    bin_id: int
    verdict_id: int
    verdict: Verdict
    unit_value: float | None = None


def worth_of(verdict: Verdict, *, unit_value: float | None, costs: Costs, propensity: float = 1.0) -> float:
    """What a look is expected to save: P(record wrong) times what that would cost, without the cost of the look.

    A wrong record costs an escape, or what its items are worth where that is more. A record that was drawn for a check
    stands for 1 / `propensity` others like it, which is what its look tells about.
    """
    right = verdict.right if verdict.right is not None else verdict.prior_right
    wrong = _UNKNOWN if right is None else 1.0 - right
    items = 1 if verdict.count is None else max(abs(verdict.count - verdict.recorded_count), 1)
    return wrong / propensity * max(costs.escape, items * (unit_value or 0.0)) - costs.count


def open_review(
    connection: Connection,
    *,
    bin_id: int,
    verdict_id: int,
    verdict: Verdict,
    unit_value: float | None,
    costs: Costs,
    recount_share: float,
    at: datetime | None = None,
) -> int | None:
    """`open_reviews` for one bin."""
    asked = Asked(bin_id, verdict_id, verdict, unit_value)
    return open_reviews(connection, [asked], costs=costs, recount_share=recount_share, at=at)[0]


def open_reviews(
    connection: Connection,
    asked: Sequence[Asked],
    *,
    costs: Costs,
    recount_share: float,
    at: datetime | None = None,
) -> list[int | None]:
    """For the newest verdict of each of several bins: opens a review where a person should look, and returns its id.

    A mismatch and an uncertain one are looked at, and an accepted one that was drawn (blind; drawn with the chance
    `recount_share`); never one that was not drawn, a stale one, or what a person has settled by this photo or a later
    one. A review of an older verdict is withdrawn, and whoever was looking keeps the bin. Three kinds stay, since
    people or chance asked for them: those that wait for a second person, those that somebody else counts again, and
    drawn ones; unless the record that they are about has been replaced for that very moment.

    Asked again for the same verdict, it returns the review that is open already.
    """
    at = at or now()
    opened: dict[int, int] = {}
    ended: list[dict[str, Any]] = []
    ordered = sorted(asked, key=lambda each: each.bin_id)  # as everybody locks them, so that nobody waits in a ring
    for start in range(0, len(ordered), _AT_ONCE):
        some = _Some(connection, ordered[start : start + _AT_ONCE], costs, recount_share, at)
        opened |= some.open()
        ended += some.ended
    for line in ended:  # last: whoever appends makes others wait who may have what is still to be locked
        audit.append(connection, actor=SYSTEM, action="review.withdraw", at=at, **line)
    return [opened.get(each.verdict_id) for each in asked]


class _Some:
    """Some bins' verdicts at once: a few queries, whatever their number."""

    def __init__(
        self, connection: Connection, asked: Sequence[Asked], costs: Costs, recount_share: float, at: datetime
    ) -> None:
        self._connection, self._asked, self._costs, self._at = connection, asked, costs, at
        self._share = recount_share
        lock_bins(connection, [each.bin_id for each in asked])
        self._held = {row.bin_id: row for row in self._read_held()}
        self._about = {row.id: row for row in self._read_about()}
        self._known = self._read_known()
        self._settled = set(self._read_settled())
        self.ended: list[dict[str, Any]] = []  # audit lines of what was taken from somebody

    def open(self) -> dict[int, int]:
        """Ids of open reviews, by verdict."""
        found, rows = {}, []
        for each in self._asked:
            held = self._held.get(each.bin_id)
            if each.verdict_id in self._known:
                if self._known[each.verdict_id] is not None:
                    found[each.verdict_id] = int(self._known[each.verdict_id] or 0)
                continue
            wanted = self._is_wanted(each)
            if held is not None:
                if self._stays(held, each):
                    continue
                self._withdraw(held, goes_over=wanted and each.verdict.outcome in _DOUBTFUL and not held.blind)
            if wanted:
                rows.append(self._row(each, held))
        if rows:
            review = schema.Review
            added = self._connection.execute(insert(review).returning(review.id, review.verdict_id), rows)
            found |= {row.verdict_id: row.id for row in added}
        return found

    def _read_held(self) -> Sequence[Any]:
        review, verdict, belief = schema.Review, schema.Verdict, schema.Belief
        query = (
            select(
                review.id, review.bin_id, review.verdict_id, review.state, review.reason, review.blind, review.round,
                review.lease_person_id, review.lease_until, review.lease_token, verdict.record_id,
                schema.Photo.taken_at, schema.Bin.code.label("bin"), schema.Site.code.label("site"),
            )
            .join(verdict, verdict.id == review.verdict_id)
            .join(belief, belief.id == verdict.belief_id)
            .outerjoin(schema.Photo, schema.Photo.id == belief.photo_id)
            .join(schema.Bin, schema.Bin.id == review.bin_id)
            .join(schema.Site, schema.Site.id == schema.Bin.site_id)
            .where(review.bin_id.in_([each.bin_id for each in self._asked]), review.state.in_(("open", "waiting")))
            .with_for_update(of=review)
        )  # fmt: skip
        return self._connection.execute(query).all()

    def _read_about(self) -> Sequence[Any]:
        """What the verdicts are about: the record's version, the photo."""
        verdict, record = schema.Verdict, schema.StockRecord
        query = (
            select(
                verdict.id, verdict.record_id, record.key, record.effective_at,
                schema.Belief.photo_id, schema.Photo.taken_at,
            )
            .join(record, record.id == verdict.record_id)
            .join(schema.Belief, schema.Belief.id == verdict.belief_id)
            .outerjoin(schema.Photo, schema.Photo.id == schema.Belief.photo_id)
            .where(verdict.id.in_([each.verdict_id for each in self._asked]))
        )  # fmt: skip
        return self._connection.execute(query).all()

    def _read_known(self) -> dict[int, int | None]:
        """Verdicts that had a review before: the one that is open, if any."""
        review = schema.Review
        query = select(review.verdict_id, review.id, review.state).where(
            review.verdict_id.in_([each.verdict_id for each in self._asked])
        )
        known: dict[int, int | None] = {}
        for row in self._connection.execute(query):
            known[row.verdict_id] = row.id if row.state in ("open", "waiting") else known.get(row.verdict_id)
        return known

    def _read_settled(self) -> Iterator[int]:
        """Verdicts on what a person has settled already: by this photo or a later look at the bin."""
        unusable = set(self._read_unusable())
        said: dict[int, list[Any]] = {}
        for row in self._read_said():
            said.setdefault(row.bin_id, []).append(row)
        for each in self._asked:
            about = self._about[each.verdict_id]
            if about.photo_id in unusable or any(_settles(row, about) for row in said.get(each.bin_id, ())):
                yield each.verdict_id

    def _read_unusable(self) -> Sequence[int]:
        label = schema.Label
        photos = [about.photo_id for about in self._about.values() if about.photo_id is not None]
        query = select(label.photo_id).where(
            label.photo_id.in_(photos), label.withdrawn_at.is_(None), label.kind.in_(("uncountable", "not_this_bin"))
        )
        return self._connection.execute(query).scalars().all()

    def _read_said(self) -> Sequence[Any]:
        decision, review, verdict = schema.Decision, schema.Review, schema.Verdict
        query = (
            select(review.bin_id, decision.id, decision.kind, decision.counted_at, verdict.record_id)
            .join(review, review.id == decision.review_id)
            .join(verdict, verdict.id == review.verdict_id)
            .where(review.bin_id.in_([each.bin_id for each in self._asked]), *stands())
            .where(decision.counted_at.is_not(None))
        )
        return self._connection.execute(query).all()

    def _is_wanted(self, each: Asked) -> bool:
        verdict = each.verdict
        drawn = verdict.outcome == "match" and verdict.blind_recount
        return (drawn or verdict.outcome in _DOUBTFUL) and each.verdict_id not in self._settled

    def _stays(self, held: Any, each: Asked) -> bool:
        if held.state == "open" and held.round == 1 and held.reason != CHECK:
            return False
        about = self._about[each.verdict_id]
        replaced = about.record_id != held.record_id
        return not (replaced and (held.taken_at is None or about.effective_at <= held.taken_at))

    def _withdraw(self, held: Any, *, goes_over: bool) -> None:
        review, adjustment = schema.Review, schema.Adjustment
        connection, at = self._connection, self._at
        values = {"state": "withdrawn", "closed_at": at, "lease_person_id": None, "lease_until": None}
        connection.execute(update(review).where(review.id == held.id).values(**values, lease_token=None))
        is_taken = held.lease_until is not None and held.lease_until > at
        if held.state == "waiting":
            decisions = select(schema.Decision.id).where(schema.Decision.review_id == held.id)
            proposed = adjustment.decision_id.in_(decisions) & (adjustment.state == "proposed")
            connection.execute(update(adjustment).where(proposed).values(state="rejected", settled_at=at))
        if held.state == "waiting" or (is_taken and not goes_over):
            body = {"review": held.id, "lease": held.lease_person_id if is_taken else None, "state": held.state}
            self.ended.append({"subject": f"bin:{held.site}/{held.bin}", "body": body})

    def _row(self, each: Asked, held: Any) -> dict[str, Any]:
        drawn = each.verdict.outcome == "match"
        propensity = (self._share or 1.0) if drawn else 1.0
        worth = worth_of(each.verdict, unit_value=each.unit_value, costs=self._costs, propensity=propensity)
        is_taken = held is not None and not drawn and not held.blind
        is_taken = is_taken and held.lease_until is not None and held.lease_until > self._at
        return {
            "bin_id": each.bin_id,
            "verdict_id": each.verdict_id,
            "round": 1,
            "state": "open",
            "reason": CHECK if drawn else each.verdict.outcome,
            "blind": drawn,
            "worth": Decimal(str(round(worth, 4))),
            "propensity": propensity,
            "opened_at": self._at,
            "lease_person_id": held.lease_person_id if is_taken else None,
            "lease_until": held.lease_until if is_taken else None,
            "lease_token": held.lease_token if is_taken else None,
        }


def _settles(said: Any, about: Any) -> bool:
    """Whether a decision that stands has said by this photo or later what a verdict asks."""
    if about.taken_at is not None and said.counted_at < about.taken_at:
        return False
    confirmed = said.kind == "accept" and said.record_id == about.record_id
    return bool(confirmed or about.key == f"review:{said.id}")
