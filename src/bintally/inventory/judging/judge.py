"""Verdicts are made and kept, with the reviews that they open.

One transaction for all bins of a chunk. Who judges bins at the same time with fewer facts keeps out of the way: what is
known of a bin only grows, so that more facts are newer ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import polars as pl
from sqlalchemy import Connection, and_, func, insert, or_, select
from sqlalchemy.orm import aliased

from bintally.database import audit
from bintally.database.types import now
from bintally.inventory import schema
from bintally.inventory.judging.beliefs import Believed
from bintally.inventory.judging.cases import Case, cases_of, decide
from bintally.inventory.judging.facts import BinFacts
from bintally.inventory.judging.how import How
from bintally.inventory.judging.rows import insert_of
from bintally.inventory.ledger import Site
from bintally.inventory.people import SYSTEM
from bintally.inventory.policy.words import verdict_of
from bintally.inventory.review.queue import Asked, open_reviews
from bintally.inventory.verdict import OUTCOMES, Verdict

_ACTION: Final = "reconcile"


class Judged(msgspec.Struct, frozen=True):
    """New verdicts of some bins."""

    outcomes: dict[str, int]
    opened: int  # reviews


def judge(
    connection: Connection,
    site: Site,
    how: How,
    bins: Sequence[BinFacts],
    believed: Sequence[Believed],
    belief_ids: dict[int, int],
    outcomes: pl.DataFrame,
    *,
    at: datetime | None = None,
) -> Judged:
    """Judges the records of `bins`, whose beliefs were kept as `belief_ids`; `outcomes` as `policy.rates` has them."""
    at = at or now()
    ours = _claimed(connection, bins, how)
    cases = [case for case in cases_of(believed) if case.facts.id in ours]
    made = [
        (case, verdict_of(decisions, row))
        for decisions, group in (decide(cases, how, outcomes) if cases else ())
        for row, case in enumerate(group)
    ]
    made.sort(key=lambda each: each[0].facts.id)
    new, ids = _stored(connection, how, made, belief_ids, at)
    told = Judged(_tally(verdict for _, verdict in new), _open_reviews(connection, how, new, ids, at))
    if new:
        body = {"verdicts": told.outcomes, "reviews": told.opened, "first": min(ids), "last": max(ids)}
        body |= {"policy": how.policy_sha256, "model": how.card.name}
        audit.append(connection, actor=SYSTEM, action=_ACTION, subject=f"site:{site.code}", body=body)
    return told


def _claimed(connection: Connection, bins: Sequence[BinFacts], how: How) -> set[int]:
    """Bins of which nobody knows more, or has judged as much in this way.

    Until the transaction ends, nobody else judges them.
    """
    judged = schema.Judged
    rows = [
        {"bin_id": facts.id, "facts": facts.number, "how": how.sha256}
        for facts in sorted(bins, key=lambda each: each.id)
    ]
    inserting = insert_of(connection, judged)
    claiming = inserting.on_conflict_do_update(
        index_elements=("bin_id",),
        set_={"facts": inserting.excluded.facts, "how": inserting.excluded.how},
        where=or_(
            judged.facts < inserting.excluded.facts,
            and_(judged.facts == inserting.excluded.facts, judged.how != inserting.excluded.how),
        ),
    ).returning(judged.bin_id)
    return set(connection.execute(claiming, rows).scalars())


def _stored(
    connection: Connection,
    how: How,
    made: Sequence[tuple[Case, Verdict]],
    belief_ids: dict[int, int],
    at: datetime,
) -> tuple[list[tuple[Case, Verdict]], list[int]]:
    """The verdicts that are new, and their numbers."""
    if not made:
        return [], []
    how.store_policy(connection)
    rows: list[dict[str, Any]] = [
        {
            "bin_id": case.facts.id,
            "record_id": case.record.id,
            "belief_id": belief_ids[case.facts.id],
            "policy_sha256": how.policy_sha256,
            "outcome": verdict.outcome,
            "right": verdict.right,
            "blind_recount": verdict.blind_recount,
            "body": verdict.to_json(),
            "made_at": at,
        }
        for case, verdict in made
    ]
    held = _held(connection, how, rows)
    pairs = zip(made, rows, strict=True)
    new = [(each, row) for each, row in pairs if (row["record_id"], row["belief_id"]) not in held]
    if not new:
        return [], []
    verdict = schema.Verdict
    adding = insert(verdict).returning(verdict.id, sort_by_parameter_order=True)
    return [each for each, _ in new], list(connection.execute(adding, [row for _, row in new]).scalars())


def _held(connection: Connection, how: How, rows: Sequence[Mapping[str, Any]]) -> set[tuple[int, int]]:
    """The record and belief of verdicts that need not be made again.

    Those of bins whose newest verdict is by this policy. By an earlier one a bin is judged again, as the newest counts.
    """
    verdict, newer = schema.Verdict, aliased(schema.Verdict)
    newest = select(func.max(newer.id)).where(newer.bin_id == verdict.bin_id).scalar_subquery()
    last = select(verdict.bin_id).where(
        verdict.bin_id.in_([row["bin_id"] for row in rows]),
        verdict.id == newest,
        verdict.policy_sha256 == how.policy_sha256,
    )
    same = set(connection.execute(last).scalars())
    told = select(verdict.record_id, verdict.belief_id).where(
        verdict.record_id.in_([row["record_id"] for row in rows if row["bin_id"] in same]),
        verdict.policy_sha256 == how.policy_sha256,
    )
    return {(row.record_id, row.belief_id) for row in connection.execute(told)}


def _open_reviews(
    connection: Connection, how: How, new: Sequence[tuple[Case, Verdict]], verdict_ids: Sequence[int], at: datetime
) -> int:
    settings = how.policy.settings
    asked = [
        Asked(case.facts.id, verdict_id, verdict, case.record.unit_value)
        for (case, verdict), verdict_id in zip(new, verdict_ids, strict=True)
    ]
    ids = open_reviews(connection, asked, costs=settings.costs, recount_share=settings.recount_share, at=at)
    return sum(review_id is not None for review_id in ids)


def _tally(verdicts: Iterable[Verdict]) -> dict[str, int]:
    told: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
    for verdict in verdicts:
        told[verdict.outcome] += 1
    return told
