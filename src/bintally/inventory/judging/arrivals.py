"""One photo arrives: it is kept, looked at, its bin's record is judged, a review is opened.

Its bytes are written first, then the fact that there is such a photo; each later step is a transaction of its own. What
a kill leaves undone, the next `reconcile_ledger` does, or the same photo delivered again.
"""

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, select

from bintally.inventory import schema
from bintally.inventory.intake import record_as_of, take_photo, take_record
from bintally.inventory.judging.how import How
from bintally.inventory.judging.looking import keep_estimate
from bintally.inventory.judging.reconcile import reconcile_site
from bintally.inventory.kept_photos import keep, photos_folder
from bintally.inventory.ledger import Ledger, Site, site_of
from bintally.inventory.people import SYSTEM
from bintally.inventory.verdict import Verdict
from bintally.photos import read_photo
from bintally.records import CountEstimate

WITH_PHOTO: Final = "photo"
"""`StockRecord.source` of what was told beside a photo."""


class Arrived(msgspec.Struct, frozen=True):
    """A photo in the ledger, and what its bin's newest verdict is now; None: the bin's record was not judged."""

    photo_id: int
    is_new: bool
    estimate: CountEstimate | None
    verdict_id: int | None
    verdict: Verdict | None
    review_id: int | None  # the bin's open review


def take_and_judge(
    *,
    ledger: Ledger,
    how: How,
    bin: str,  # noqa: A002 - the field's word
    photo: bytes | Path | str,
    taken_at: datetime | None,
    site: str | None = None,
    folder: Path | None = None,
    received_at: datetime | None = None,
    recorded: int | None = None,
    seen: CountEstimate | None = None,
    by: str = SYSTEM,
) -> Arrived:
    """Takes a photo of a bin in, and judges the bin's record by it. A photo that is known already is taken once.

    `photo`: a file's path or its bytes; `taken_at` as `take_photo` has it. `folder`: where photos are kept; None:
    `photos` beside a ledger that is a file. A photo that can't be read is kept too, as one that tells nothing.
    `recorded`: what the sender says the record says at the photo's moment; where the ledger says otherwise, it is a new
    version. `seen`: what this very model saw on the photo, all counts asked for, so that it is not counted again.

    Raises:
        UsageError: no such site; no `folder` for a ledger on a server.
        DataError: no such bin, or the photo is one of another bin.
        ConflictError: the photo is known with another time.
        PhotoError: there is no such file.
        StorageError: disk full, or no permission.
    """
    data = photo if isinstance(photo, bytes) else read_photo(Path(photo))
    sha256 = hashlib.sha256(data).hexdigest()
    place = keep(data, photos_folder(ledger) if folder is None else folder)
    with ledger.write() as connection:
        of_site = site_of(connection, site)
        taken = take_photo(
            connection,
            of_site,
            bin=bin,
            sha256=sha256,
            taken_at=taken_at,
            place=str(place),
            size_bytes=len(data),
            received_at=received_at,
            by=by,
        )
        photos = schema.Photo
        held = connection.execute(
            select(photos.bin_id, photos.place, photos.taken_at).where(photos.id == taken.id)
        ).one()
        if recorded is not None:
            _take_recorded(connection, of_site, bin, held, recorded, by)
        if seen is not None and held.place is not None:
            keep_estimate(connection, of_site, how.card, taken.id, seen)
    if held.place is None:  # retention removed it before
        place.unlink(missing_ok=True)
    reconcile_site(ledger, how, of_site, bin_ids=[held.bin_id])
    with ledger.read() as connection:
        return _arrived(connection, taken.id, held.bin_id, how, is_new=taken.is_new)


def _take_recorded(connection: Connection, site: Site, code: str, photo: Any, quantity: int, by: str) -> None:
    """Told twice, or told as the ledger has it, it is no new version."""
    known = record_as_of(connection, photo.bin_id, photo.taken_at)
    if known is None or known.quantity != quantity:
        take_record(
            connection, site, bin=code, quantity=quantity, effective_at=photo.taken_at, source=WITH_PHOTO, by=by
        )


def _arrived(connection: Connection, photo_id: int, bin_id: int, how: How, *, is_new: bool) -> Arrived:
    estimate, verdict, review = schema.Estimate, schema.Verdict, schema.Review
    told = connection.execute(
        select(estimate.body).where(estimate.photo_id == photo_id, estimate.model_sha256 == how.card.model_sha256)
    ).scalar_one_or_none()
    newest = connection.execute(
        select(verdict.id, verdict.body).where(verdict.bin_id == bin_id).order_by(verdict.id.desc()).limit(1)
    ).one_or_none()
    review_id = connection.execute(
        select(review.id).where(review.bin_id == bin_id, review.state.in_(("open", "waiting")))
    ).scalar_one_or_none()
    return Arrived(
        photo_id=photo_id,
        is_new=is_new,
        estimate=None if told is None else CountEstimate.from_json(told),
        verdict_id=None if newest is None else newest.id,
        verdict=None if newest is None else msgspec.json.decode(newest.body, type=Verdict),
        review_id=review_id,
    )
