"""Photos in the ledger are looked at: alone, and beside the photo of the same bin before them.

Each batch is one transaction. Killed anywhere, it is run again and does what is missing; what another process does at
the same time is done twice at most, and stands once.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Select, exists, func, select

from bintally.bundle import Card
from bintally.counting.ahead import Decoded, decoded_ahead
from bintally.counting.change import change_tables
from bintally.counting.counter import Counter
from bintally.counting.network import MAX_BATCH
from bintally.database import audit
from bintally.database.types import now
from bintally.inventory import schema
from bintally.inventory.judging.facts import BinFacts, Look
from bintally.inventory.judging.how import How
from bintally.inventory.judging.rows import add_missing
from bintally.inventory.ledger import Ledger, Site
from bintally.inventory.people import SYSTEM
from bintally.progress import SILENT, Progress
from bintally.records import CountEstimate
from bintally.settings import cpu_count

_PAGE: Final = 16 * MAX_BATCH
_DIGITS: Final = 6  # of a probability: two more than on a screen, since their ratios are evidence


class Looked(msgspec.Struct, frozen=True):
    """How many photos were looked at, and how many of them could not be read."""

    photos: int = 0
    unreadable: int = 0


def look(
    ledger: Ledger,
    how: How,
    site: Site,
    *,
    bin_ids: Sequence[int] | None = None,
    progress: Progress = SILENT,
) -> Looked:
    """Counts the site's photos (None: of all bins) that this model has not counted.

    One that can't be read, or is not where it was, gets an estimate with `error`.
    """
    card = how.card
    with ledger.read() as connection:
        pending = _pending(site, card.model_sha256, bin_ids).subquery()
        total = connection.execute(select(func.count()).select_from(pending)).scalar_one()
    if not total:
        return Looked()
    photos, unreadable = 0, 0
    rows = _pages(ledger, _pending(site, card.model_sha256, bin_ids))
    coming = decoded_ahead(rows, lambda row: (row.place,), card, batch_size=MAX_BATCH, workers=cpu_count())
    with progress.task("look", total=total, unit="photos") as task, closing(coming):
        for batch in coming:
            told = _counted(how.counter, [photo for _, [photo] in batch])
            with ledger.write() as connection:
                _store(connection, site, card, [row.id for row, _ in batch], told)
            photos += len(batch)
            unreadable += sum(estimate.error is not None for estimate in told)
            task.advance(len(batch))
    return Looked(photos, unreadable)


def keep_estimate(connection: Connection, site: Site, card: Card, photo_id: int, seen: CountEstimate) -> None:
    """Keeps what the model of `card` saw of a photo elsewhere, all counts asked for, so that `look` need not count it.

    What is kept of it already stays.
    """
    estimate = schema.Estimate
    held = select(estimate.id).where(estimate.photo_id == photo_id, estimate.model_sha256 == card.model_sha256)
    if connection.execute(held).first() is None:
        _store(connection, site, card, [photo_id], [seen])


def keep_comparison(
    connection: Connection,
    site: Site,
    card: Card,
    pair: tuple[int, int],
    evidence_d: NDArray[np.floating[Any]],
    raw_k: NDArray[np.floating[Any]],
    *,
    max_count: int,
) -> None:
    """Keeps what the model of `card` saw elsewhere of a pair of photos (earlier, later): it is not compared again.

    `evidence_d` is of the pair, `raw_k` of the later photo alone. What is kept of it already stays.
    """
    row = _row_of(card, pair, evidence_d, raw_k, max_count)
    add_missing(connection, schema.Comparison, [row], unique=("later_id", "earlier_id", "model_sha256"))
    _tell(connection, site, card, "compare", [pair[1]], {})


def unpaired(bins: Sequence[BinFacts], model_sha256: str) -> list[tuple[Look, Look]]:
    """Photos that follow each other in a bin and were not compared by the model, the earlier one first.

    A photo that comes late, between two others, parts a pair and makes two.
    """
    return [
        (earlier, later)
        for each in bins
        for earlier, later in pairwise(look for look in each.looks if look.tells)
        if (earlier.id, later.id, model_sha256) not in each.pairs
        and earlier.place is not None
        and later.place is not None
        and earlier.model_sha256 == later.model_sha256 == model_sha256
    ]


def compare(
    ledger: Ledger,
    how: How,
    site: Site,
    pairs: Sequence[tuple[Look, Look]],
    *,
    progress: Progress = SILENT,
) -> int:
    """Compares photos, and says how many pairs were compared; one whose photo can't be read any more is left out."""
    counter, done = how.counter, 0
    coming = decoded_ahead(pairs, _places, counter.card, batch_size=MAX_BATCH, workers=cpu_count())
    with progress.task("compare", total=len(pairs), unit="pairs") as task, closing(coming):
        for batch in coming:
            readable = [(pair, photos) for pair, photos in batch if all(photo.error is None for photo in photos)]
            rows = _compared(counter, readable, how.follow.max_count) if readable else []
            if rows:
                with ledger.write() as connection:
                    add_missing(connection, schema.Comparison, rows, unique=("later_id", "earlier_id", "model_sha256"))
                    _tell(connection, site, counter.card, "compare", [row["later_id"] for row in rows], {})
            done += len(rows)
            task.advance(len(batch))
    return done


def _pending(site: Site, model_sha256: str, bin_ids: Sequence[int] | None) -> Select[int, str | None]:
    photo, estimate = schema.Photo, schema.Estimate
    counted = exists().where(estimate.photo_id == photo.id, estimate.model_sha256 == model_sha256)
    query = select(photo.id, photo.place).where(photo.place.is_not(None), ~counted)
    if bin_ids is not None:
        return query.where(photo.bin_id.in_(bin_ids))
    return query.join(schema.Bin, schema.Bin.id == photo.bin_id).where(schema.Bin.site_id == site.id)


def _pages(ledger: Ledger, pending: Select[int, str | None]) -> Iterator[Any]:
    """Rows of photos, a page at a time: no connection stays open while the network works."""
    last = 0
    while True:
        with ledger.read() as connection:
            page = connection.execute(
                pending.where(schema.Photo.id > last).order_by(schema.Photo.id).limit(_PAGE)
            ).all()
        if not page:
            return
        yield from page
        last = page[-1].id


def _counted(counter: Counter, photos: Sequence[Decoded]) -> list[CountEstimate]:
    pixels = [photo.pixels_hwc for photo in photos if photo.pixels_hwc is not None]
    counted = iter(counter.count_pixels(np.stack(pixels)) if pixels else ())
    return [
        CountEstimate(error=photo.error, model=counter.card.name) if photo.pixels_hwc is None else next(counted)
        for photo in photos
    ]


def _store(
    connection: Connection, site: Site, card: Card, photo_ids: Sequence[int], told: Sequence[CountEstimate]
) -> None:
    moment = now()
    prior = json.dumps(card.target_prior)
    rows = [
        {
            "photo_id": photo_id,
            "model": card.name,
            "model_sha256": card.model_sha256,
            "body": _json(estimate),
            "prior": prior,
            "made_at": moment,
        }
        for photo_id, estimate in zip(photo_ids, told, strict=True)
    ]
    add_missing(connection, schema.Estimate, rows, unique=("photo_id", "model_sha256"))
    unreadable = sum(estimate.error is not None for estimate in told)
    _tell(connection, site, card, "look", photo_ids, {"unreadable": unreadable})


def _json(estimate: CountEstimate) -> str:
    """An estimate as it is kept. How long it took is no fact about the photo."""
    shares = {key: round(share, _DIGITS) for key, share in estimate.probabilities.items()}
    return msgspec.json.encode(msgspec.structs.replace(estimate, probabilities=shares, timings=None)).decode()


def _places(pair: tuple[Look, Look]) -> tuple[str, ...]:
    return tuple(str(look.place) for look in pair)


def _compared(
    counter: Counter, batch: Sequence[tuple[tuple[Look, Look], list[Decoded]]], max_count: int
) -> list[dict[str, Any]]:
    """Rows of comparisons. The later photo of one pair is the earlier one of the next: each is seen once."""
    pixels = {look.id: photo.pixels_hwc for pair, photos in batch for look, photo in zip(pair, photos, strict=True)}
    place = {photo_id: index for index, photo_id in enumerate(pixels)}
    seen = counter.network.see(np.stack([each for each in pixels.values() if each is not None]), beside=True)
    earlier, later = (seen.only([place[pair[side].id] for pair, _ in batch]) for side in (0, 1))
    evidence_pd = counter.network.evidence(earlier, later)
    return [
        _row_of(counter.card, (pair[0].id, pair[1].id), evidence_d, raw_k, max_count)
        for (pair, _), evidence_d, raw_k in zip(batch, evidence_pd, later.raw_nk, strict=True)
    ]


def _row_of(
    card: Card,
    pair: tuple[int, int],
    evidence_d: NDArray[np.floating[Any]],
    raw_k: NDArray[np.floating[Any]],
    max_count: int,
) -> dict[str, Any]:
    change, change_prior = change_tables(card, evidence_d, raw_k, max_count)
    return {
        "earlier_id": pair[0],
        "later_id": pair[1],
        "model_sha256": card.model_sha256,
        "change": _json_of(change, lambda share: round(share, _DIGITS)),
        "change_prior": _json_of(change_prior, lambda share: float(f"{share:.{_DIGITS}g}")),
        "made_at": now(),
    }


def _json_of(table: dict[str, dict[str, float]], rounded: Callable[[float], float]) -> str:
    """Shares by earlier and new count; what is 0 is left out. A table of priors has no 0: its shares are divided by."""
    short = {
        earlier: {key: short for key, share in row.items() if (short := rounded(share))}
        for earlier, row in table.items()
    }
    return json.dumps(short, separators=(",", ":"))


def _tell(
    connection: Connection, site: Site, card: Card, action: str, ids: Sequence[int], more: dict[str, Any]
) -> None:
    body = {"model": card.name, "photos": len(ids), "first": min(ids), "last": max(ids), **more}
    audit.append(connection, actor=SYSTEM, action=action, subject=f"site:{site.code}", body=body)
