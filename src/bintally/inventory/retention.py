"""retain: old photos' files are removed; what was seen on them, and their hashes, stay.

A photo stays while a review of its bin is open, and while a label that stands is on it, unless one says that labelled
photos were exported. First the ledger says that a photo is removed, then its file is deleted, then the ledger forgets
where it lay: what a kill leaves behind, the next run finishes.
"""

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, exists, func, select, update

from bintally.artifacts import storage_errors
from bintally.database import audit
from bintally.database.types import now
from bintally.errors import UsageError
from bintally.inventory import schema
from bintally.inventory.ledger import Ledger, Site, site_of
from bintally.inventory.people import person_of

_AT_ONCE: Final = 1_000


class RetainReport(msgspec.Struct, frozen=True):
    """What was removed (or would be), and what old photos are kept for.

    `missing`: files that were not there any more. `outside`: photos that don't lie in the folder; they stay.
    """

    removed: int
    bytes: int
    missing: int
    kept_for_reviews: int
    kept_for_labels: int
    outside: int
    is_dry: bool
    seconds: float


def retain(
    *,
    ledger: Ledger,
    days: int,
    folder: Path,
    by: str,
    site: str | None = None,
    exported: bool = False,
    dry_run: bool = False,
    at: datetime | None = None,
) -> RetainReport:
    """Removes the files in `folder` of photos that were taken more than `days` days ago, as the admin `by`.

    `exported`: labelled photos may go too. `at`: the moment that counts as now.

    Raises:
        UsageError, AccessError: fewer than 1 day, no such site, nobody of that name or no admin.
        StorageError: a file can't be deleted (what is told of it then stands, and the next run tries again).
    """
    start = time.perf_counter()
    if days < 1:
        raise UsageError(f"Photos can't be kept for {days} days.", hint="1 is least.")
    moment = at or now()
    folder = folder.resolve()
    with ledger.read() as connection:
        place = site_of(connection, site)
        person_of(connection, by).need("admin", site_id=place.id)
        old = _old(place, moment - timedelta(days=days))
        for_reviews = _count(connection, [*old, _in_review()])
        for_labels = 0 if exported else _count(connection, [*old, ~_in_review(), _has_label()])
        free = [*old, ~_in_review(), *([] if exported else [~_has_label()])]
        photos = _photos(connection, free) + _photos(connection, _half_removed(place))
    inside = [photo for photo in photos if (folder / photo.place).resolve().is_relative_to(folder)]
    missing = 0
    if not dry_run:
        for first in range(0, len(inside), _AT_ONCE):
            numbers = [photo.id for photo in inside[first : first + _AT_ONCE]]
            marked = _marked(ledger, place, numbers, free, moment, by)
            missing += _delete(folder, [photo for photo in inside[first : first + _AT_ONCE] if photo.id in marked])
            _forget(ledger, marked)
    return RetainReport(
        removed=len(inside),
        bytes=sum(photo.size_bytes for photo in inside),
        missing=missing,
        kept_for_reviews=for_reviews,
        kept_for_labels=for_labels,
        outside=len(photos) - len(inside),
        is_dry=dry_run,
        seconds=round(time.perf_counter() - start, 2),
    )


class _Photo(msgspec.Struct, frozen=True):
    id: int
    place: str
    size_bytes: int


def _old(site: Site, before: datetime) -> list[ColumnElement[bool]]:
    photo = schema.Photo
    return [_of(site), photo.taken_at < before, photo.place.is_not(None), photo.removed_at.is_(None)]


def _half_removed(site: Site) -> list[ColumnElement[bool]]:
    """Photos that a run said are removed, before it was killed."""
    return [_of(site), schema.Photo.removed_at.is_not(None), schema.Photo.place.is_not(None)]


def _of(site: Site) -> ColumnElement[bool]:
    bins = select(schema.Bin.id).where(schema.Bin.id == schema.Photo.bin_id, schema.Bin.site_id == site.id)
    return bins.exists()


def _in_review() -> ColumnElement[bool]:
    review = schema.Review
    return exists().where(review.bin_id == schema.Photo.bin_id, review.state.in_(("open", "waiting")))


def _has_label() -> ColumnElement[bool]:
    label = schema.Label
    return exists().where(label.photo_id == schema.Photo.id, label.withdrawn_at.is_(None))


def _count(connection: Connection, where: list[ColumnElement[bool]]) -> int:
    return connection.execute(select(func.count()).select_from(schema.Photo).where(*where)).scalar_one()


def _photos(connection: Connection, where: list[ColumnElement[bool]]) -> list[_Photo]:
    photo = schema.Photo
    rows = connection.execute(select(photo.id, photo.place, photo.size_bytes).where(*where).order_by(photo.id))
    return [_Photo(row.id, str(row.place), row.size_bytes) for row in rows]


def _marked(
    ledger: Ledger, site: Site, numbers: list[int], free: list[ColumnElement[bool]], at: datetime, by: str
) -> set[int]:
    """Says that photos are removed; those of which a review was opened since, stay. Returns what is removed now."""
    photo = schema.Photo
    with ledger.write() as connection:
        marking = update(photo).where(photo.id.in_(numbers), *free).values(removed_at=at).returning(photo.id)
        new = sorted(connection.execute(marking).scalars())
        marked = select(photo.id).where(photo.id.in_(numbers), photo.removed_at.is_not(None))
        all_marked = set(connection.execute(marked).scalars())
        if new:
            audit.append(connection, actor=by, action="photo.remove", subject=f"site:{site.code}", body={"photos": new})
    return all_marked


def _delete(folder: Path, photos: list[_Photo]) -> int:
    """Deletes files; returns how many were not there."""
    missing = 0
    for photo in photos:
        path = folder / photo.place
        with storage_errors(path):
            missing += not path.exists()
            path.unlink(missing_ok=True)
    return missing


def _forget(ledger: Ledger, numbers: set[int]) -> None:
    photo = schema.Photo
    with ledger.write() as connection:
        connection.execute(update(photo).where(photo.id.in_(numbers)).values(place=None))
