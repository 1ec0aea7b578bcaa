"""All that the ledger knows of a correction, read together."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, exists, select

from bintally.errors import UsageError
from bintally.inventory import schema
from bintally.inventory.evidence import chain, done, seen
from bintally.inventory.evidence.facts import Belief, Correction, Decision, Named, Photo, Review, Site
from bintally.inventory.evidence.reading import Versions
from bintally.inventory.known import bin_of
from bintally.inventory.ledger import Site as LedgerSite


class Known:
    """What is read once for all corrections."""

    def __init__(self, connection: Connection, site: LedgerSite) -> None:
        self.removals = chain.Removals(connection, site)
        self.versions = Versions(connection)


class Gathered(msgspec.Struct, frozen=True):
    """A correction, and where its photos lie, by their numbers."""

    correction: Correction
    places: dict[int, str]


def decision_of(connection: Connection, *, adjustment: int | None = None, decision: int | None = None) -> int:
    """The decision with this number, or that asked for this adjustment.

    Raises:
        UsageError: there is none, or it asked for no change of stock.
    """
    table = schema.Adjustment
    if adjustment is not None:
        found = connection.execute(select(table.decision_id).where(table.id == adjustment)).scalar_one_or_none()
        if found is None:
            raise UsageError(f"There is no adjustment {adjustment}.", hint=_NUMBERS)
        return int(found)
    known = connection.execute(select(schema.Decision.kind).where(schema.Decision.id == decision)).scalar_one_or_none()
    if known is None:
        raise UsageError(f"There is no decision {decision}.", hint=_NUMBERS)
    if not connection.execute(select(exists().where(table.decision_id == decision))).scalar_one():
        raise UsageError(f"Decision {decision} ({known}) asked for no change of stock.", hint=_NUMBERS)
    return int(decision or 0)


def decisions_of(
    connection: Connection, site: LedgerSite, *, code: str | None, since: datetime | None, until: datetime | None
) -> list[int]:
    """All decisions of a site (of the bin `code`) that asked for changes of stock, in order.

    Raises:
        DataError: there is no such bin.
    """
    decision, review, place = schema.Decision, schema.Review, schema.Bin
    where: list[ColumnElement[bool]] = [place.site_id == site.id]
    if code is not None:
        where.append(place.id == bin_of(connection, site, code))
    if since is not None:
        where.append(decision.made_at >= since)
    if until is not None:
        where.append(decision.made_at < until)
    query: Select[int] = (
        select(decision.id)
        .join(review, review.id == decision.review_id)
        .join(place, place.id == review.bin_id)
        .where(*where, exists().where(schema.Adjustment.decision_id == decision.id))
        .order_by(decision.id)
    )
    return list(connection.execute(query).scalars())


def site_of_decision(connection: Connection, decision_id: int) -> LedgerSite:
    """The site that a decision is about."""
    row = done.subject_of(connection, decision_id)
    return LedgerSite(row.site_id, row.code, row.name, row.currency)


def gather(connection: Connection, decision_id: int, known: Known) -> Gathered:
    """All that is known of a decision that asked for changes of stock."""
    about = done.subject_of(connection, decision_id)
    verdict, belief = seen.verdict_of(connection, about.verdict_id)
    reviews = done.reviews_of(connection, about.verdict_id)
    adjustments = done.adjustments_of(connection, decision_id)
    labels = done.labels_of(connection, decision_id)
    comparisons = seen.comparisons_of(connection, belief.photo, known.versions)
    photos, places = seen.photos_of(
        connection,
        known.versions,
        bin_id=about.bin_id,
        photo_id=belief.photo,
        known_at=verdict.made_at,
        more={each.earlier for each in comparisons} | {each.photo for each in labels},
    )
    since, until = _span(photos, reviews, belief)
    movements = seen.movements_of(connection, about.bin_id, since, until)
    ours = _story(reviews, decision_id)
    records = done.records_of(connection, about.bin_id, verdict.record, [each.record for each in adjustments], ours)
    postings = done.postings_of(connection, about.bin_id, decision_id)
    named = chain.About.of(photos, records, movements, reviews, postings)
    audit = chain.lines_about(connection, f"bin:{about.code}/{about.bin}", named, known.removals.of(photos))
    correction = Correction(
        decision=decision_id,
        site=Site(about.site_id, about.code, about.name, about.currency),
        bin=Named(about.bin_id, about.bin),
        adjustments=adjustments,
        records=records,
        photos=photos,
        comparisons=comparisons,
        movements=movements,
        belief=belief,
        verdict=verdict,
        reviews=reviews,
        labels=labels,
        postings=postings,
        audit=audit,
    )
    return Gathered(correction, places)


def _span(photos: Sequence[Photo], reviews: Sequence[Review], belief: Belief) -> tuple[datetime, datetime]:
    """From the first photo to the last moment of which somebody told a count."""
    told = [each.counted_at for review in reviews for each in review.decisions if each.counted_at is not None]
    return min((each.taken_at for each in photos), default=belief.at), max([belief.at, *told])


def _story(reviews: Sequence[Review], decision_id: int) -> list[Decision]:
    """A decision, and what took it back."""
    made = [each for review in reviews for each in review.decisions]
    return [each for each in made if decision_id in (each.id, each.undoes)]


_NUMBERS = "`bintally ledger export adjustments adjustments.csv` lists those that did."
