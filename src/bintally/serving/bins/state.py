"""What the ledger knows of a bin, as it is answered."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from bintally.inventory import schema
from bintally.inventory.judging.arrivals import Arrived
from bintally.inventory.judging.beliefs import Believed, believe, held_belief
from bintally.inventory.judging.facts import read_facts
from bintally.inventory.judging.how import How
from bintally.serving.answer import BinState

_LEAST = 0.00005  # of a probability that is told


def bin_state(connection: Connection, how: How, arrived: Arrived) -> BinState:
    """What is known of the bin of a photo that was taken in and judged.

    The posterior is that of the belief made of just what is known now. After a decision was taken back that is an
    earlier row of the ledger, not its last one.
    """
    photo = _photo(connection, arrived.photo_id)
    [facts] = read_facts(connection, [photo.bin_id], how.card.model_sha256)
    believed = held_belief(connection, facts, how)
    if believed is None or believed.kind == "none":  # why it is none is not kept
        [believed] = believe([facts], how)
    counted = max(facts.told, key=lambda told: (told.counted_at, told.key), default=None)
    shares = _shares(believed)
    return BinState(
        bin_id=photo.bin,
        site=photo.site,
        count=max(shares, key=lambda count: shares[count], default=None),
        expected_count=sum(count * share for count, share in shares.items()) if shares else None,
        probabilities={str(count): share for count, share in shares.items() if share >= _LEAST},
        evidence=believed.kind,
        recorded_count=None if facts.record is None else facts.record.quantity,
        confirmed_count=None if counted is None else counted.count,
        confirmed_at=None if counted is None else counted.counted_at,
        previous_photo_at=_before(believed, photo.taken_at, photo.sha256),
        photos=photo.photos,
        photo_is_new=arrived.is_new,
        review_id=arrived.review_id,
    )


def _photo(connection: Connection, photo_id: int) -> Any:
    photo, bins, site = schema.Photo, schema.Bin, schema.Site
    others = photo.__table__.alias()
    return connection.execute(
        select(
            photo.bin_id, photo.taken_at, photo.sha256, bins.code.label("bin"), site.code.label("site"),
            select(func.count()).where(others.c.bin_id == photo.bin_id).scalar_subquery().label("photos"),
        )
        .join(bins, bins.id == photo.bin_id)
        .join(site, site.id == bins.site_id)
        .where(photo.id == photo_id)
    ).one()  # fmt: skip


def _shares(believed: Believed) -> dict[int, float]:
    """Probabilities by count; empty where neither a photo nor a person has told anything, or events contradict."""
    facts = believed.facts
    if believed.reason is not None or not (facts.told or any(look.tells for look in facts.looks)):
        return {}
    return dict(enumerate(believed.probabilities_c.tolist()))


def _before(believed: Believed, taken_at: datetime, sha256: str) -> datetime | None:
    """When the photo before was taken."""
    earlier = [look.taken_at for look in believed.facts.looks if (look.taken_at, look.sha256) < (taken_at, sha256)]
    return earlier[-1] if earlier else None
