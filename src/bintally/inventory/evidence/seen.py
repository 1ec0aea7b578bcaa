"""What was seen of a bin before anybody looked: photos, what models made of them, the posterior, the verdict."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from bintally.inventory import schema
from bintally.inventory.evidence.facts import Belief, Comparison, Estimate, Movement, Photo, Verdict
from bintally.inventory.evidence.layout import policy_file
from bintally.inventory.evidence.reading import Versions, fact, parsed


def verdict_of(connection: Connection, verdict_id: int) -> tuple[Verdict, Belief]:
    """A verdict, and the posterior that it was made by."""
    row = connection.execute(select(schema.Verdict.__table__).where(schema.Verdict.id == verdict_id)).one()
    belief = connection.execute(select(schema.Belief.__table__).where(schema.Belief.id == row.belief_id)).one()
    verdict = fact(
        Verdict,
        row,
        record=row.record_id,
        belief=row.belief_id,
        policy=row.policy_sha256,
        policy_file=policy_file(row.policy_sha256),
        verdict=parsed(row.body),
    )
    shares = {name: parsed(getattr(belief, name)) for name in ("probabilities", "prior")}
    return verdict, fact(Belief, belief, photo=belief.photo_id, **shares)


def comparisons_of(connection: Connection, photo_id: int | None, versions: Versions) -> tuple[Comparison, ...]:
    """What models saw beside earlier photos of the bin."""
    comparison = schema.Comparison
    query = select(comparison.__table__).where(comparison.later_id == photo_id).order_by(comparison.id)
    return tuple(
        fact(
            Comparison,
            row,
            earlier=row.earlier_id,
            later=row.later_id,
            registered=versions.of(row.model_sha256),
            change=parsed(row.change),
            change_prior=parsed(row.change_prior),
        )
        for row in connection.execute(query)
    )


def photos_of(
    connection: Connection,
    versions: Versions,
    *,
    bin_id: int,
    photo_id: int | None,
    known_at: datetime,
    more: Iterable[int],
) -> tuple[tuple[Photo, ...], dict[int, str]]:
    """The photo that was judged by and the bin's one before it (known at `known_at`), and `more`; where they lie.

    In order of time.
    """
    photo = schema.Photo
    wanted = {*more, *([] if photo_id is None else [photo_id])}
    if photo_id is not None:
        taken_at = select(photo.taken_at).where(photo.id == photo_id).scalar_subquery()
        before = (
            select(photo.id)
            .where(photo.bin_id == bin_id, photo.taken_at < taken_at, photo.received_at <= known_at)
            .order_by(photo.taken_at.desc(), photo.id.desc())
            .limit(1)
        )
        wanted.update(connection.execute(before).scalars())
    query = select(photo.__table__).where(photo.id.in_(wanted)).order_by(photo.taken_at, photo.id)
    rows = connection.execute(query).all()
    estimates = _estimates(connection, [row.id for row in rows], versions)
    return tuple(_photo(row, estimates.get(row.id, ())) for row in rows), {
        row.id: row.place for row in rows if row.place is not None and row.removed_at is None
    }


def movements_of(connection: Connection, bin_id: int, since: datetime, until: datetime) -> tuple[Movement, ...]:
    """What was picked and stowed after `since`, until `until`."""
    move, product = schema.Movement, schema.Product
    query = (
        select(move.__table__, product.sku)
        .outerjoin(product, product.id == move.product_id)
        .where(move.bin_id == bin_id, move.moved_at > since, move.moved_at <= until)
        .order_by(move.moved_at, move.id)
    )
    return tuple(fact(Movement, row, product=row.product_id) for row in connection.execute(query))


def policy_body(connection: Connection, sha256: str) -> bytes:
    """A policy, to the byte."""
    query = select(schema.Policy.body).where(schema.Policy.sha256 == sha256)
    return connection.execute(query).scalar_one().encode()


def _photo(row: Any, estimates: tuple[Estimate, ...]) -> Photo:
    is_removed = row.removed_at is not None
    return fact(Photo, row, state="removed" if is_removed else "missing", file=None, estimates=estimates)


def _estimates(connection: Connection, photo_ids: list[int], versions: Versions) -> dict[int, tuple[Estimate, ...]]:
    estimate = schema.Estimate
    query = select(estimate.__table__).where(estimate.photo_id.in_(photo_ids)).order_by(estimate.id)
    told: dict[int, tuple[Estimate, ...]] = {}
    for row in connection.execute(query):
        made = fact(
            Estimate,
            row,
            registered=versions.of(row.model_sha256),
            estimate=parsed(row.body),
            prior=parsed(row.prior),
        )
        told[row.photo_id] = (*told.get(row.photo_id, ()), made)
    return told
