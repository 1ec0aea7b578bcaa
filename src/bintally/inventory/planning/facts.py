"""What the ledger knows of a site's bins for a plan, read into narrow tables: a million bins in seconds.

Everything that happened until the end of the plan's day counts. A site that tells no movements tells versions of its
records: each that says another quantity than the one before is taken for a movement, unless more were told.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, NamedTuple

import polars as pl
from sqlalchemy import BigInteger, Connection, Subquery, case, func, select, type_coerce

from bintally.inventory import schema
from bintally.inventory.ledger import Site
from bintally.inventory.review.case import stands
from bintally.inventory.rows import epoch_s, number_in, table_of

_BINS_AT_ONCE: Final = 500
_DAY_S: Final = 86_400
_MONEY: Final = 10_000

_LINES: Final[dict[str, Any]] = {
    "id": pl.Int64,
    "bin": pl.String,
    "units": pl.Int64,
    "product": pl.Int64,
    "quantity": pl.Int64,
}
_PRODUCTS: Final[dict[str, Any]] = {"product": pl.Int64, "abc": pl.String, "unit_money": pl.Int64}
_COUNTS: Final[dict[str, Any]] = {
    "decision_id": pl.Int64,
    "id": pl.Int64,
    "at_s": pl.Int64,
    "before_s": pl.Int64,
    "touches": pl.Int64,
}
_SEEN: Final[dict[str, Any]] = {"id": pl.Int64, "right": pl.Float64, "prior": pl.Float64, "at_s": pl.Int64}
_TIMES: Final[dict[str, Any]] = {"id": pl.Int64, "at_s": pl.Int64}
_MOVES: Final[dict[str, Any]] = {"id": pl.Int64, "moves": pl.Int64, "moves_before": pl.Int64}


class Facts(NamedTuple):
    """What is known of bins, and the counts that it rests on.

    `bins`: id, product (a number; null: several or none), and the columns of `planning.candidates` but for factor, rate
    and planned; prior only of those never counted, as what is judged after a count knows the bin's past.
    `counts`: a row a count by a person that stands: decision_id, id (the bin's), days (since), before_days (since the
    one before; null: there is none), touches (movements between both).
    """

    bins: pl.DataFrame
    counts: pl.DataFrame


def read(connection: Connection, site: Site, day: date) -> Facts:
    """What is known of the site's bins at the end of `day`."""
    end = datetime.combine(day, datetime.min.time(), UTC) + timedelta(days=1)
    end_s = int(end.timestamp())
    looks = _last_looks(site, end)
    changes = _changes(connection, site, end)
    counts = _counts(connection, site, end, changes)
    seen = table_of(connection, _judged(connection, site, end), _SEEN)
    moves = table_of(connection, _moves(site, end, looks), _MOVES)
    last = counts.group_by("id").agg(pl.col("at_s").max().alias("counted_s"))
    bins = _bins(connection, site, end).join(last, on="id", how="left", maintain_order="left")
    bins = bins.join(seen.rename({"at_s": "seen_s"}), on="id", how="left", maintain_order="left")
    bins = bins.join(moves, on="id", how="left", maintain_order="left")
    bins = bins.join(_changed(bins, changes), on="id", how="left", maintain_order="left")
    bins = bins.with_columns(
        moves_since=pl.max_horizontal("moves", "changes").fill_null(0),
        moves_before=pl.max_horizontal("moves_before", "changes_before").fill_null(0),
        prior=pl.when(pl.col("counted_s").is_null()).then("prior"),
        days_since_count=_days(end_s, "counted_s"),
        days_since_photo=_days(end_s, "seen_s"),
    ).drop("moves", "changes", "changes_before", "counted_s", "seen_s")
    ages = {"days": _days(end_s, "at_s"), "before_days": _days(end_s, "before_s")}
    return Facts(bins, counts.with_columns(**ages).drop("at_s", "before_s"))


def last_photos(connection: Connection, site: Site, day: date, bins: Sequence[str]) -> pl.DataFrame:
    """`bin` and `days` since its last photo, of those of `bins` that have one."""
    end = datetime.combine(day, datetime.min.time(), UTC) + timedelta(days=1)
    photo, place = schema.Photo, schema.Bin
    newest = epoch_s(connection, func.max(photo.taken_at))
    parts = [pl.DataFrame(schema={"bin": pl.String, "at_s": pl.Int64})]
    for start in range(0, len(bins), _BINS_AT_ONCE):
        query = (
            select(place.code, newest)
            .join(photo, photo.bin_id == place.id)
            .where(place.site_id == site.id, place.code.in_(bins[start : start + _BINS_AT_ONCE]), photo.taken_at < end)
            .group_by(place.code)
        )
        parts.append(table_of(connection, query, dict(parts[0].schema)))
    return pl.concat(parts).select("bin", days=_days(int(end.timestamp()), "at_s"))


def _bins(connection: Connection, site: Site, end: datetime) -> pl.DataFrame:
    """A row a bin that has a record: what the one in force says, and what its products say."""
    place, record, line, product = schema.Bin, schema.StockRecord, schema.StockLine, schema.Product
    newest = (
        select(record.id)
        .where(record.bin_id == place.id, record.effective_at < end)
        .order_by(record.effective_at.desc(), record.id.desc())
        .limit(1)
        .correlate(place)
        .scalar_subquery()
    )
    held = select(place.id, place.code, newest.label("record_id")).where(place.site_id == site.id).subquery()
    told = (
        select(held.c.id, held.c.code, record.quantity, line.product_id, line.quantity)
        .join(record, record.id == held.c.record_id)
        .outerjoin(line, line.record_id == record.id)
    )
    money = type_coerce(product.unit_value, BigInteger)
    products = select(product.id, product.abc, money).where(product.site_id == site.id)
    lines = table_of(connection, told, _LINES).join(table_of(connection, products, _PRODUCTS), on="product", how="left")
    total = (pl.col("quantity") * pl.col("unit_money")).sum() / pl.col("quantity").sum()
    each = pl.when(pl.col("quantity").sum() > 0).then(total).otherwise(pl.col("unit_money").mean())
    valued = pl.when(pl.col("unit_money").is_not_null().all()).then(each / _MONEY)
    return (
        lines.group_by("id", "bin", "units")
        .agg(
            abc=pl.col("abc").min().fill_null("A"),  # of unknown contents, as when it is judged
            unit_value=valued,
            product=pl.when(pl.len() == 1).then(pl.col("product").first()),
        )
        .sort("id")
    )


def _standing(site: Site, end: datetime) -> Any:
    """Counts by people that stand: decision, bin, moment."""
    decision, review, place = schema.Decision, schema.Review, schema.Bin
    return (
        select(decision.id.label("decision_id"), review.bin_id, decision.counted_at)
        .join(review, review.id == decision.review_id)
        .join(place, place.id == review.bin_id)
        .where(
            place.site_id == site.id,
            decision.kind.in_(("accept", "correct")),
            decision.counted_at.is_not(None),
            decision.counted_at < end,
            *stands(),
        )
    )


def _counts(connection: Connection, site: Site, end: datetime, changes: pl.DataFrame) -> pl.DataFrame:
    counted = _standing(site, end).subquery()
    before = func.lag(counted.c.counted_at).over(
        partition_by=counted.c.bin_id, order_by=(counted.c.counted_at, counted.c.decision_id)
    )
    each = select(counted, before.label("before")).subquery()
    move = schema.Movement
    touches = (
        select(func.count())
        .where(move.bin_id == each.c.bin_id, move.moved_at > each.c.before, move.moved_at <= each.c.counted_at)
        .correlate(each)
        .scalar_subquery()
    )
    at_s, before_s = epoch_s(connection, each.c.counted_at), epoch_s(connection, each.c.before)
    table = table_of(connection, select(each.c.decision_id, each.c.bin_id, at_s, before_s, touches), _COUNTS)
    told = table.join(changes.rename({"at_s": "changed_s"}), on="id", how="inner").filter(
        pl.col("changed_s") > pl.col("before_s"), pl.col("changed_s") <= pl.col("at_s")
    )
    numbers = told.group_by("decision_id").agg(changes=pl.len().cast(pl.Int64))
    return (
        table.join(numbers, on="decision_id", how="left")
        .with_columns(touches=pl.max_horizontal("touches", "changes"))
        .drop("changes")
        .sort("decision_id")
    )


def _newest(site: Site, end: datetime) -> Subquery:
    """By bin its newest verdict that says how likely the record is; one on a photo that stock outran does not."""
    verdict, place, belief = schema.Verdict, schema.Bin, schema.Belief
    return (
        select(func.max(verdict.id).label("id"))
        .join(place, place.id == verdict.bin_id)
        .join(belief, belief.id == verdict.belief_id)
        .where(
            place.site_id == site.id,
            verdict.outcome != "stale",
            verdict.right.is_not(None),
            belief.at < end,
        )
        .group_by(verdict.bin_id)
        .subquery()
    )


def _judged(connection: Connection, site: Site, end: datetime) -> Any:
    verdict, belief, newest = schema.Verdict, schema.Belief, _newest(site, end)
    return (
        select(
            verdict.bin_id,
            verdict.right,
            number_in(connection, verdict.body, "prior_right"),
            epoch_s(connection, belief.at),
        )
        .join(newest, newest.c.id == verdict.id)
        .join(belief, belief.id == verdict.belief_id)
    )


def _last_looks(site: Site, end: datetime) -> Subquery:
    """By bin the moment of its last count or judged photo, whichever is later."""
    verdict, belief, newest = schema.Verdict, schema.Belief, _newest(site, end)
    judged = (
        select(verdict.bin_id, belief.at.label("at"))
        .join(newest, newest.c.id == verdict.id)
        .join(belief, belief.id == verdict.belief_id)
    )
    counted = _standing(site, end).subquery()
    each = judged.union_all(select(counted.c.bin_id, counted.c.counted_at)).subquery()
    return select(each.c.bin_id, func.max(each.c.at).label("at")).group_by(each.c.bin_id).subquery()


def _moves(site: Site, end: datetime, looks: Subquery) -> Any:
    """By bin its movements since the last look, and those before it."""
    move, place = schema.Movement, schema.Bin
    later = looks.c.at.is_(None) | (move.moved_at > looks.c.at)
    return (
        select(move.bin_id, func.sum(case((later, 1), else_=0)), func.sum(case((later, 0), else_=1)))
        .join(place, place.id == move.bin_id)
        .outerjoin(looks, looks.c.bin_id == move.bin_id)
        .where(place.site_id == site.id, move.moved_at < end)
        .group_by(move.bin_id)
    )


def _changes(connection: Connection, site: Site, end: datetime) -> pl.DataFrame:
    """Versions of records that say another quantity than the one before; corrections made here are no movements."""
    record, place = schema.StockRecord, schema.Bin
    before = func.lag(record.quantity).over(partition_by=record.bin_id, order_by=(record.effective_at, record.id))
    each = (
        select(record.bin_id, record.effective_at, record.quantity, record.source, before.label("before"))
        .join(place, place.id == record.bin_id)
        .where(place.site_id == site.id, record.effective_at < end)
        .subquery()
    )
    changed = select(each.c.bin_id, epoch_s(connection, each.c.effective_at)).where(
        each.c.quantity != each.c.before, each.c.source != schema.CORRECTION
    )
    return table_of(connection, changed, _TIMES)


def _changed(bins: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
    looked = bins.select("id", looked_s=pl.max_horizontal("counted_s", "seen_s"))
    since = pl.col("looked_s").is_null() | (pl.col("at_s") > pl.col("looked_s"))
    numbers = {"changes": since.sum().cast(pl.Int64), "changes_before": (~since).sum().cast(pl.Int64)}
    return changes.join(looked, on="id").group_by("id").agg(**numbers)


def _days(end_s: int, column: str) -> pl.Expr:
    return (end_s - pl.col(column)) / _DAY_S
