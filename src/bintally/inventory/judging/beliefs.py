"""What is known of a bin's count from all facts: its events, in the order in which they happened, through the filter.

Photos that people called "not this bin" are no events, nor are those that tell no count, nor stock records: a record is
what is judged. The same events, with photos that tell nothing in place of the real ones, are what would be known
without any photo: the ratio of both is what the photos say.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from bintally.counting import kernels
from bintally.counting.events import AnyEvent, Counted, Photo, Transaction
from bintally.counting.follow_settings import FollowSettings
from bintally.counting.following import History
from bintally.database import audit
from bintally.database.types import now
from bintally.errors import DataError
from bintally.inventory import schema
from bintally.inventory.judging.facts import UNCOUNTABLE, BinFacts, Look
from bintally.inventory.judging.how import How
from bintally.inventory.judging.rows import ids_of
from bintally.inventory.judging.single_photo import single_photos
from bintally.inventory.ledger import Site
from bintally.inventory.people import SYSTEM

Kind: TypeAlias = Literal["none", "photo", "change", "followed"]
Floats: TypeAlias = NDArray[np.float64]

_DIGITS: Final = 6  # significant ones: what photos say is a ratio of probabilities, of small ones too
_LEAST: Final = 1e-12  # what is below it is none


class Believed(msgspec.Struct, frozen=True):
    """What is known of a bin's count 0, 1 .. max_count; `prior_c` is the same without any photo.

    `reason`: why the events tell nothing together.
    """

    facts: BinFacts
    kind: Kind
    sha256: str  # of the events and settings
    at: datetime | None  # of the last event; None: there is none
    probabilities_c: Floats
    prior_c: Floats
    reason: str | None = None


def believe(bins: Sequence[BinFacts], how: How) -> list[Believed]:
    """What is known of each of `bins`, in their order."""
    events = [events_of(facts) for facts in bins]
    alone = {place for place, known in enumerate(events) if len(known) == 1 and isinstance(known[0], Photo)}
    photos = [known[0] for place, known in enumerate(events) if place in alone]
    quick = iter(zip(*single_photos(photos, how.follow), strict=True))  # type: ignore[arg-type]
    answers = [
        (*next(quick), None) if place in alone else followed(known, how.follow) for place, known in enumerate(events)
    ]
    told_nc, prior_nc = (rounded(np.array([answer[part] for answer in answers])) for part in (0, 1))
    found = []
    for facts, known, told_c, prior_c, (_, _, reason) in zip(bins, events, told_nc, prior_nc, answers, strict=True):
        found.append(
            Believed(
                facts=facts,
                kind="none" if reason is not None else kind_of(known),
                sha256=_sha256(facts, known, how.follow_json),
                at=max(moments) if (moments := _moments(facts)) else None,
                probabilities_c=told_c,
                prior_c=prior_c,
                reason=reason,
            )
        )
    return found


def held_belief(connection: Connection, facts: BinFacts, how: How) -> Believed | None:
    """What was believed of a bin by exactly these facts and settings, read again; None: nothing yet.

    Why events tell nothing together is not kept: there the kind is "none".
    """
    belief, sha256 = schema.Belief, _sha256(facts, events_of(facts), how.follow_json)
    query = select(belief.kind, belief.at, belief.probabilities, belief.prior)
    row = connection.execute(query.where(belief.bin_id == facts.id, belief.events == sha256)).one_or_none()
    if row is None:
        return None
    told_c, prior_c = (np.array(json.loads(shares)) for shares in (row.probabilities, row.prior))
    return Believed(facts, row.kind, sha256, row.at, told_c, prior_c)


def events_of(facts: BinFacts) -> list[AnyEvent]:
    """The events of a bin, in order of time. Times are seconds since 1970."""
    events: list[AnyEvent] = []
    before: Look | None = None
    for look in facts.looks:
        if look.tells:
            events.append(_photo(look, before, facts))
            before = look
    events += [
        Transaction(time=move.moved_at.timestamp(), id=f"movement {move.key}", quantity=move.quantity)
        for move in facts.moves
    ]
    events += [
        Counted(time=told.counted_at.timestamp(), id=f"decision {told.key}", count=told.count) for told in facts.told
    ]
    return sorted(events, key=lambda event: event.order) if len(events) > 1 else events


def followed(events: Sequence[AnyEvent], settings: FollowSettings) -> tuple[Floats, Floats, str | None]:
    """Probabilities [C] after all events, with what photos tell and without; and why not, where they contradict."""
    start = kernels.start_c(settings.start, settings)
    if not events:
        return start, start, None
    try:
        told, untold = (
            np.array(History(each, settings).posteriors()[-1].probabilities)
            for each in (events, [blinded(event) for event in events])
        )
    except DataError as error:  # such as more items moved than any bin holds
        return start, start, error.message
    return told, untold, None


def blinded(event: AnyEvent) -> AnyEvent:
    """A photo that tells nothing in place of one; other events as they are."""
    return Photo(time=event.time, id=event.id) if isinstance(event, Photo) else event


def kind_of(events: Sequence[AnyEvent]) -> Kind:
    """What the evidence is. Where nobody has counted yet, it is the last photo alone: only that was calibrated."""
    photos = [event for event in events if isinstance(event, Photo)]
    if not photos:
        return "none"
    if len(events) == 1:
        return "photo"
    counted = [event.seconds for event in events if isinstance(event, Counted)]
    if not counted or min(counted) > photos[-1].seconds:
        return "photo"
    earlier = [photo.seconds for photo in photos[:-1]]
    return "change" if photos[-1].change and earlier and max(counted) >= min(earlier) else "followed"


def rounded(shares: Floats) -> Floats:
    """Probabilities with so many significant digits as are kept."""
    scale = 10.0 ** (_DIGITS - 1 - np.floor(np.log10(np.maximum(shares, _LEAST))))
    kept: Floats = np.where(shares < _LEAST, 0.0, np.round(shares * scale) / scale)
    return kept


def store_beliefs(
    connection: Connection, site: Site, believed: Sequence[Believed], *, at: datetime | None = None
) -> dict[int, int]:
    """Keeps beliefs that are new, and says each bin's number of its own."""
    moment = at or now()
    rows = [
        {
            "bin_id": each.facts.id,
            "photo_id": each.facts.looks[-1].id if each.facts.looks else None,
            "at": each.at,
            "events": each.sha256,
            "kind": each.kind,
            "probabilities": _json(each.probabilities_c),
            "prior": _json(each.prior_c),
            "made_at": moment,
        }
        for each in believed
    ]
    ids, new = ids_of(connection, schema.Belief, rows, unique=("bin_id", "events"), of="bin_id")
    if new:
        numbers = [ids[bin_id] for bin_id in new]
        body = {"bins": len(new), "first": min(numbers), "last": max(numbers)}
        audit.append(connection, actor=SYSTEM, action="believe", subject=f"site:{site.code}", body=body)
    return ids


def _photo(look: Look, before: Look | None, facts: BinFacts) -> Photo:
    known: dict[str, Any] = {}
    if before is not None and (pair := facts.pairs.get((before.id, look.id, look.model_sha256))) is not None:
        known = {
            "previous": before.sha256,
            "change": json.loads(pair.change),
            "change_prior": json.loads(pair.change_prior),
        }
    shares = look.estimate.probabilities
    prior = {key: look.prior[key] for key in shares}
    return Photo(time=look.taken_at.timestamp(), id=look.sha256, probabilities=shares, prior=prior, **known)


def _moments(facts: BinFacts) -> list[datetime]:
    return [
        *(look.taken_at for look in facts.looks),
        *(move.moved_at for move in facts.moves),
        *(told.counted_at for told in facts.told),
    ]


def _sha256(facts: BinFacts, events: Sequence[AnyEvent], settings: bytes) -> str:
    """Of everything that a judgement of these facts depends on, beside the record and the policy."""
    last = facts.looks[-1] if facts.looks else None
    untold = None if last is None or last.tells else [last.sha256, last.estimate.abstain, last.estimate.error]
    uncountable = last is not None and last.said == UNCOUNTABLE
    digest = hashlib.sha256(settings)
    digest.update(msgspec.json.encode([list(events), untold, uncountable], order="deterministic"))
    return digest.hexdigest()


def _json(shares_c: Floats) -> str:
    return msgspec.json.encode(shares_c.tolist()).decode()
