"""What the KPIs need of a ledger, read into narrow tables: a million verdicts in seconds.

Moments are whole seconds since 1970, money ten-thousandths, so that sums are exact in any order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl
from sqlalchemy import BigInteger, Connection, case, select, type_coerce

from bintally.inventory import schema
from bintally.inventory.rows import epoch_s, number_in, table_of
from bintally.inventory.verdict import OUTCOMES

VERDICTS: Final[dict[str, Any]] = {
    "id": pl.Int64,
    "record_id": pl.Int64,
    "bin_id": pl.Int64,
    "site_id": pl.Int64,
    "outcome": pl.Enum(OUTCOMES),
    "promised": pl.Float64,  # of the accepted only
    "recorded": pl.Int64,
    "made_s": pl.Int64,
}
REVIEWS: Final[dict[str, Any]] = {
    "id": pl.Int64,
    "verdict_id": pl.Int64,
    "state": pl.String,
    "chance": pl.Float64,
    "opened_s": pl.Int64,
    "closed_s": pl.Int64,
}
DECISIONS: Final[dict[str, Any]] = {
    "id": pl.Int64,
    "review_id": pl.Int64,
    "kind": pl.String,
    "count": pl.Int64,
    "undoes_id": pl.Int64,
    "made_s": pl.Int64,
    "base": pl.Int64,  # what the record in force said when it was counted
}
ADJUSTMENTS: Final[dict[str, Any]] = {
    "decision_id": pl.Int64,
    "product_id": pl.Int64,
    "change": pl.Int64,
    "value": pl.Int64,
    "state": pl.String,
}
LINES: Final[dict[str, Any]] = {"record_id": pl.Int64, "product_id": pl.Int64}
PRODUCTS: Final[dict[str, Any]] = {"product_id": pl.Int64, "sku": pl.String, "abc": pl.String}


@dataclass(frozen=True)
class Facts:
    """Tables with the columns above. `decisions` of all times, the others before `until_s`."""

    verdicts: pl.DataFrame
    reviews: pl.DataFrame
    decisions: pl.DataFrame
    adjustments: pl.DataFrame
    lines: pl.DataFrame
    products: pl.DataFrame
    until_s: int


def read(connection: Connection, site_ids: Sequence[int], *, until_s: int, by_product: bool = True) -> Facts:
    """The facts of some sites, as far as a verdict before `until_s` is concerned; without records' lines if unasked.

    Records that a correction made are left out: a person counted them, so they say nothing of the stock system's
    records, nor of what is accepted without one.
    """
    verdict, record, place = schema.Verdict, schema.StockRecord, schema.Bin
    until = datetime.fromtimestamp(until_s, UTC)
    here = place.site_id.in_(site_ids)
    judged = (
        select(
            verdict.id,
            verdict.record_id,
            verdict.bin_id,
            place.site_id,
            verdict.outcome,
            case((verdict.outcome == "match", number_in(connection, verdict.body, "promised"))),
            record.quantity,
            epoch_s(connection, verdict.made_at),
        )
        .join(record, record.id == verdict.record_id)
        .join(place, place.id == verdict.bin_id)
        .where(here, record.source != schema.CORRECTION, verdict.made_at < until)
    )
    review, decision, change = schema.Review, schema.Decision, schema.Adjustment
    opened_s, closed_s = epoch_s(connection, review.opened_at), epoch_s(connection, review.closed_at)
    reviews = (
        select(review.id, review.verdict_id, review.state, review.propensity, opened_s, closed_s)
        .join(place, place.id == review.bin_id)
        .where(here, review.opened_at < until)
    )
    base = (
        select(record.quantity)
        .where(
            record.bin_id == review.bin_id,
            record.effective_at <= decision.counted_at,
            record.received_at < decision.made_at,
        )
        .order_by(record.effective_at.desc(), record.id.desc())
        .limit(1)
        .correlate(review, decision)
    )
    decisions = (
        select(
            decision.id,
            decision.review_id,
            decision.kind,
            decision.count,
            decision.undoes_id,
            epoch_s(connection, decision.made_at),
            base.scalar_subquery(),
        )
        .join(review, review.id == decision.review_id)
        .join(place, place.id == review.bin_id)
        .where(here)
    )
    value = type_coerce(change.value, BigInteger)
    adjustments = (
        select(change.decision_id, change.product_id, change.after - change.before, value, change.state)
        .join(place, place.id == change.bin_id)
        .where(here)
    )
    products = select(schema.Product.id, schema.Product.sku, schema.Product.abc).where(
        schema.Product.site_id.in_(site_ids)
    )
    line = schema.StockLine
    lines = select(line.record_id, line.product_id).where(line.record_id.in_(select(verdict.record_id)))
    return Facts(
        verdicts=table_of(connection, judged, VERDICTS),
        reviews=table_of(connection, reviews, REVIEWS),
        decisions=table_of(connection, decisions, DECISIONS),
        adjustments=table_of(connection, adjustments, ADJUSTMENTS),
        lines=table_of(connection, lines, LINES) if by_product else pl.DataFrame(schema=LINES),
        products=table_of(connection, products, PRODUCTS),
        until_s=until_s,
    )
