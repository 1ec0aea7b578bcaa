"""A count at a bin that no review has asked for, such as a planned one: it is decided as if one had."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, func, insert, select

from bintally.database.types import now
from bintally.errors import ConflictError, DataError
from bintally.inventory import schema
from bintally.inventory.known import bin_of
from bintally.inventory.ledger import Site
from bintally.inventory.people import Person
from bintally.inventory.review import leases
from bintally.inventory.review.case import lock_bins
from bintally.inventory.review.decisions import Decided, by_key, decide
from bintally.inventory.values import digest, moment_of

PLANNED: Final = "planned"
"""Why a review was opened for a count that somebody had made already."""


def take_count(
    connection: Connection,
    site: Site,
    *,
    bin: str,  # noqa: A002 - the field's word
    person: Person,
    counted_at: datetime,
    count: int | None = None,
    lines: Mapping[str, int] | None = None,
    note: str = "",
    key: str | None = None,
    at: datetime | None = None,
) -> Decided:
    """Decides about a bin's record by what `person` has counted there at `counted_at`: `count` items, or `lines`.

    A review of the bin that is open is decided with it; else one is opened for it. The same count again, known by its
    `key` (None: by its content), stands once.

    Raises:
        DataError: an unknown bin, or one of which no photo was judged yet; an unknown product.
        UsageError: no count.
        AccessError: not a reviewer of this site.
        ConflictError: somebody else has the bin just now, or is to look at it; a correction of it waits for approval.
    """
    at, counted_at = at or now(), moment_of(counted_at, of=f"the count of bin {bin}")
    person.need("reviewer", site_id=site.id)
    bin_id = bin_of(connection, site, bin)
    key = key or _key(site, bin, person, counted_at, count, lines)
    lock_bins(connection, [bin_id])
    done = by_key(connection, key)
    review_id = _open(connection, bin_id, bin, at) if done is None else done.review_id
    return decide(
        connection,
        review_id=review_id,
        person=person,
        token="" if done is not None else _token(connection, site, person, review_id, at),
        kind="correct",
        count=count,
        lines=lines,
        note=note,
        key=key,
        at=at,
        counted_at=counted_at,
    )


def _open(connection: Connection, bin_id: int, code: str, at: datetime) -> int:
    """The bin's review: the one that is open, else a new one of its newest verdict."""
    review, verdict = schema.Review, schema.Verdict
    query = select(review.id, review.state).where(review.bin_id == bin_id, review.state.in_(("open", "waiting")))
    held = connection.execute(query).one_or_none()
    if held is not None and held.state == "waiting":
        raise ConflictError(
            f"A correction of bin {code} waits for a second person.",
            hint=f"`bintally review approve {held.id}` (--reject) ends that.",
        )
    if held is not None:
        return int(held.id)
    newest = connection.execute(select(func.max(verdict.id)).where(verdict.bin_id == bin_id)).scalar_one()
    if newest is None:
        raise DataError(
            f"No photo of bin {code} was judged yet.",
            hint="Reconcile first; without any, count in the stock system.",
        )
    rounds = select(func.coalesce(func.max(review.round), 0)).where(review.verdict_id == newest)
    values = {
        "bin_id": bin_id,
        "verdict_id": newest,
        "round": connection.execute(rounds).scalar_one() + 1,
        "reason": PLANNED,
        "blind": False,
        "worth": 0,
        "propensity": 1.0,  # whoever plans goes to all bins of the plan
        "opened_at": at,
    }
    return int(connection.execute(insert(review).values(**values).returning(review.id)).scalar_one())


def _token(connection: Connection, site: Site, person: Person, review_id: int, at: datetime) -> str:
    """To decide with: the person's own, if they have taken it before."""
    held = (each for each in leases.held(connection, person, site, at=at) if each.review.review_id == review_id)
    taken = next(held, None) or leases.take(connection, person, site, at=at, review_id=review_id)
    if taken is None:
        raise leases.why_not(connection, review_id, person, site, at=at)
    return taken.token


def _key(
    site: Site,
    code: str,
    person: Person,
    counted_at: datetime,
    count: int | None,
    lines: Mapping[str, int] | None,
) -> str:
    counted = (count, sorted((lines or {}).items()))
    return f"count:{digest(repr((site.code, code.strip(), person.name, counted_at.isoformat(), counted)))}"
