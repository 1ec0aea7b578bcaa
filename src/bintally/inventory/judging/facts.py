"""What the ledger knows of bins, read for thousands of them at once, as it is now or as it was known earlier."""

import json
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from itertools import takewhile
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from bintally.inventory import schema
from bintally.records import CountEstimate

NOT_THIS_BIN: Final = "not_this_bin"
UNCOUNTABLE: Final = "uncountable"
_SETTLE: Final = ("accept", "correct")


class Look(msgspec.Struct, frozen=True):
    """A photo and what a model saw on it. `said`: what people last said of it, a kind of label; None: nothing."""

    id: int
    sha256: str
    taken_at: datetime
    place: str | None
    estimate: CountEstimate
    prior: dict[str, float]
    model_sha256: str
    said: str | None

    @property
    def tells(self) -> bool:
        """Whether a count can be read off: the photo is readable, and of a bin."""
        told = self.estimate
        return told.error is None and told.abstain is None and len(told.probabilities) > 1


class Pair(msgspec.Struct, frozen=True):
    """What a model saw of the change between two photos, as `counting.events.Photo` has it; JSON."""

    change: str
    change_prior: str


class Move(msgspec.Struct, frozen=True):
    """A recorded transaction, or a change between two versions of the record that no transaction tells of."""

    key: str
    quantity: int
    moved_at: datetime


class Told(msgspec.Struct, frozen=True):
    """A count that a person told and that settled something: neither undone, nor rejected, nor held against another."""

    key: str
    count: int
    counted_at: datetime


class Record(msgspec.Struct, frozen=True):
    """What a bin's record says now, by the first version that says so: told again every night, it is no move.

    What its products say: money for one item (None: unknown), ABC class.
    """

    id: int
    key: str
    quantity: int
    effective_at: datetime
    unit_value: float | None = None
    abc: str = "A"
    product_ids: tuple[int, ...] = ()


class BinFacts(msgspec.Struct):
    """All that is known of a bin. Photos are in order of time, without those that people said show another bin."""

    id: int
    looks: list[Look]
    pairs: dict[tuple[int, int, str], Pair]  # by earlier and later photo and model
    moves: list[Move]
    told: list[Told]
    record: Record | None = None
    number: int = 0  # of all facts, those left out here included: `schema.Judged.facts`


def read_facts(
    connection: Connection, bin_ids: Sequence[int], model_sha256: str, *, known_at: datetime | None = None
) -> list[BinFacts]:
    """The facts of bins, in the order of `bin_ids`; of each photo the estimate by this model, else the newest.

    `known_at`: only what the ledger had received by then (None: all). Estimates and comparisons count as received with
    their photos, from which they can be made at any time.
    """
    bins = {bin_id: BinFacts(bin_id, [], {}, [], []) for bin_id in bin_ids}
    _read_looks(connection, bins, model_sha256, known_at)
    _read_pairs(connection, bins, known_at)
    _read_moves(connection, bins, known_at)
    _read_told(connection, bins, known_at)
    _read_records(connection, bins, known_at)
    return list(bins.values())


def _read_looks(connection: Connection, bins: dict[int, BinFacts], model: str, known_at: datetime | None) -> None:
    photo, estimate = schema.Photo, schema.Estimate
    query = (
        select(
            photo.id, photo.bin_id, photo.sha256, photo.taken_at, photo.place,
            estimate.id.label("estimate_id"), estimate.body, estimate.prior, estimate.model_sha256,
        )
        .join(estimate, estimate.photo_id == photo.id)
        .where(photo.bin_id.in_(bins))
    )  # fmt: skip
    said = _said(connection, bins, known_at)
    chosen: dict[int, Any] = {}
    for row in connection.execute(_known(query, photo.received_at, known_at)):
        bins[row.bin_id].number += 1
        held = chosen.get(row.id)
        if held is None or _rank(row, model) > _rank(held, model):
            chosen[row.id] = row
    priors: dict[str, dict[str, float]] = {}  # a handful of different ones
    for row in chosen.values():
        if said.get(row.id) != NOT_THIS_BIN:
            prior = priors.get(row.prior)
            if prior is None:
                prior = priors[row.prior] = json.loads(row.prior)
            bins[row.bin_id].looks.append(
                Look(
                    row.id, row.sha256, row.taken_at, row.place, CountEstimate.from_json(row.body),
                    prior, row.model_sha256, said.get(row.id),
                )
            )  # fmt: skip
    for each in bins.values():
        each.looks.sort(key=lambda look: (look.taken_at, look.sha256))


def _rank(row: Any, model: str) -> tuple[bool, int]:
    return row.model_sha256 == model, row.estimate_id


def _said(connection: Connection, bins: Collection[int], known_at: datetime | None) -> dict[int, str]:
    """What people last said of photos, where it stands."""
    label, photo = schema.Label, schema.Photo
    query = select(label.photo_id, label.kind).join(photo, photo.id == label.photo_id).where(photo.bin_id.in_(bins))
    stands: ColumnElement[bool] = label.withdrawn_at.is_(None)
    if known_at is not None:
        stands = or_(stands, label.withdrawn_at > known_at)
    ordered = _known(query.where(stands), label.made_at, known_at).order_by(label.made_at, label.id)
    return {row.photo_id: row.kind for row in connection.execute(ordered)}


def _read_pairs(connection: Connection, bins: dict[int, BinFacts], known_at: datetime | None) -> None:
    pair, photo = schema.Comparison, schema.Photo
    query = (
        select(photo.bin_id, pair.earlier_id, pair.later_id, pair.model_sha256, pair.change, pair.change_prior)
        .join(photo, photo.id == pair.later_id)
        .where(photo.bin_id.in_(bins))
    )
    for row in connection.execute(_known(query, photo.received_at, known_at)):
        of_bin = bins[row.bin_id]
        of_bin.number += 1
        of_bin.pairs[row.earlier_id, row.later_id, row.model_sha256] = Pair(row.change, row.change_prior)


def _read_moves(connection: Connection, bins: dict[int, BinFacts], known_at: datetime | None) -> None:
    move = schema.Movement
    query = select(move.bin_id, move.key, move.quantity, move.moved_at).where(move.bin_id.in_(bins))
    for row in connection.execute(_known(query, move.received_at, known_at)):
        bins[row.bin_id].number += 1
        bins[row.bin_id].moves.append(Move(row.key, row.quantity, row.moved_at))


def _read_told(connection: Connection, bins: dict[int, BinFacts], known_at: datetime | None) -> None:
    decision, review = schema.Decision, schema.Review
    query = (
        select(
            review.bin_id, decision.id, decision.review_id, decision.key, decision.kind,
            decision.count.label("items"), decision.counted_at, decision.undoes_id,
        )
        .join(review, review.id == decision.review_id)
        .where(review.bin_id.in_(bins))
    )  # fmt: skip
    rows = connection.execute(_known(query, decision.made_at, known_at)).all()
    undone = {row.undoes_id for row in rows}
    rejected = {row.review_id for row in rows if row.kind == "reject" and row.id not in undone}
    for row in rows:
        bins[row.bin_id].number += 1
        stands = row.id not in undone and row.review_id not in rejected
        settles = row.kind in _SETTLE and row.items is not None and row.counted_at is not None
        if settles and stands:
            bins[row.bin_id].told.append(Told(row.key, row.items, row.counted_at))


def _read_records(connection: Connection, bins: dict[int, BinFacts], known_at: datetime | None) -> None:
    record = schema.StockRecord
    query = select(record.id, record.bin_id, record.key, record.quantity, record.effective_at, record.source)
    versions: dict[int, list[Any]] = {}
    for row in connection.execute(_known(query.where(record.bin_id.in_(bins)), record.received_at, known_at)):
        bins[row.bin_id].number += 1
        versions.setdefault(row.bin_id, []).append(row)
    for bin_id, rows in versions.items():
        rows.sort(key=lambda row: (row.effective_at, row.id))
        bins[bin_id].moves += list(_implied(rows, bins[bin_id].moves))
    alike = [_alike(rows) for rows in versions.values()]
    lines = _lines(connection, [row.id for rows in alike for row in rows])
    for rows in alike:
        said = [lines.get(row.id, []) for row in rows]
        told = [[(line.product_id, line.quantity) for line in each] for each in said]
        first = max(place for place in range(len(rows)) if told[: place + 1] == told[:1] * (place + 1))
        row = rows[first]
        bins[row.bin_id].record = Record(row.id, row.key, row.quantity, row.effective_at, *_worth(said[first]))


def _alike(rows: Sequence[Any]) -> list[Any]:
    """Of versions in order of time, the newest and those before it back to the first with another quantity."""
    return list(takewhile(lambda row: row.quantity == rows[-1].quantity, reversed(rows)))


def _implied(rows: Sequence[Any], moves: Sequence[Move]) -> Iterator[Move]:
    """What must have moved between versions of a record, in order of time, beside the transactions that were told.

    Many stock systems tell what there is and not what moved. A correction of our own is no move, nor is it one when the
    stock system takes it over.
    """
    before, corrected = None, None
    for row in rows:
        if row.source == schema.CORRECTION:
            corrected = row.quantity
            continue
        if before is not None:
            changed = row.quantity != before.quantity
            base = corrected if changed and corrected is not None else before.quantity
            told = sum(move.quantity for move in moves if before.effective_at < move.moved_at <= row.effective_at)
            if moved := row.quantity - base - told:
                yield Move(f"record {row.key}", moved, row.effective_at)
            corrected = None if changed else corrected
        before = row


def _lines(connection: Connection, record_ids: Sequence[int]) -> dict[int, list[Any]]:
    line, product = schema.StockLine, schema.Product
    query = (
        select(line.record_id, line.product_id, line.quantity, product.unit_value, product.abc)
        .join(product, product.id == line.product_id)
        .where(line.record_id.in_(record_ids))
        .order_by(line.record_id, line.product_id)
    )
    lines: dict[int, list[Any]] = {}
    for row in connection.execute(query):
        lines.setdefault(row.record_id, []).append(row)
    return lines


def _worth(lines: Sequence[Any]) -> tuple[float | None, str, tuple[int, ...]]:
    """An item's mean value, the most valuable class, the products; a bin of unknown contents is taken for class A."""
    if not lines:
        return None, "A", ()
    many = sum(line.quantity for line in lines)
    known = all(line.unit_value is not None for line in lines)
    weights = [line.quantity if many else 1 for line in lines]
    value = sum(float(line.unit_value) * weight for line, weight in zip(lines, weights, strict=True)) if known else None
    return (
        None if value is None else value / sum(weights),
        min(line.abc for line in lines),
        tuple(line.product_id for line in lines),
    )


def _known(query: Any, column: Any, known_at: datetime | None) -> Any:
    """A query of only what the ledger had by then."""
    return query if known_at is None else query.where(column <= known_at)


def changed_bins(connection: Connection, site_id: int, how: str, *, bin_ids: Sequence[int] | None = None) -> list[int]:
    """Bins of a site with other facts than at their last judgement, or judged in another way; ascending.

    Facts are only ever added, so that their number tells whether there are new ones.
    """
    photo, pair, review = schema.Photo, schema.Comparison, schema.Review
    parts = [
        select(photo.bin_id).join(schema.Estimate, schema.Estimate.photo_id == photo.id),
        select(photo.bin_id).join(pair, pair.later_id == photo.id),
        select(review.bin_id).join(schema.Decision, schema.Decision.review_id == review.id),
        select(schema.Movement.bin_id),
        select(schema.StockRecord.bin_id),
    ]
    if bin_ids is not None:
        parts = [part.where(part.selected_columns.bin_id.in_(bin_ids)) for part in parts]
    counted = [part.add_columns(func.count().label("number")).group_by(part.selected_columns.bin_id) for part in parts]
    each = counted[0].union_all(*counted[1:]).subquery()
    facts = select(each.c.bin_id, func.sum(each.c.number).label("number")).group_by(each.c.bin_id).subquery()
    judged = schema.Judged
    query = (
        select(facts.c.bin_id)
        .join(schema.Bin, and_(schema.Bin.id == facts.c.bin_id, schema.Bin.site_id == site_id))
        .outerjoin(judged, judged.bin_id == facts.c.bin_id)
        .where(or_(judged.bin_id.is_(None), judged.facts < facts.c.number, judged.how != how))
        .order_by(facts.c.bin_id)
    )
    return list(connection.execute(query).scalars())
