"""What a reconciliation came to: totals, what was promised, and the bins that a look is worth most of."""

from typing import Any

import msgspec
import polars as pl

from bintally.inventory.reconcile.rejected import Rejected


class Doubtful(msgspec.Struct, frozen=True, kw_only=True):
    """A bin that a person should look at."""

    bin: str
    outcome: str
    recorded_count: int
    count: str | None  # as a key of counts: "6+" for an open top
    right: float | None
    expected_off: float  # items
    expected_value: float | None  # money; None: no unit value is known
    photo: str | None
    reasons: tuple[str, ...]


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """What is promised of the accepted records, and what it rests on."""

    escape: float  # share of wrong records among the accepted, at most
    strictest: float  # where a class or value asks for less
    confidence: float
    wrong_records: float  # share of records that are reckoned to be wrong
    calibrated: tuple[str, ...]  # kinds of evidence that the acceptance file speaks of
    photos: int  # that it was made from


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Differences between counts and records that were called wrong: gross is the sum without signs, never netted."""

    bins: int
    gross: int  # items
    net: int
    gross_value: float | None
    net_value: float | None
    currency: str


class ReconcileReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of `reconcile` found."""

    source: str  # the counts, photos or ledger
    records: str
    model: str | None  # None: counts of unknown origin
    licence: str | None
    policy: str
    photos: int  # photos or counts that could be used
    bins: int  # with a record or a photo
    judged: int  # with both
    outcomes: dict[str, int]
    superseded: int  # photos with a later one of their bin
    blind_recounts: int
    second_approvals: int
    promise: Promise | None  # None: nothing was promised
    difference: Difference
    notes: tuple[str, ...]  # what one should know of it, in sentences
    worth_a_look: tuple[Doubtful, ...]
    rejected: int  # lines
    rejected_first: tuple[Rejected, ...]
    out: tuple[str, ...]
    seconds: float
    stages_s: dict[str, float]
    is_repeated: bool = False  # the same was asked before, and its files are still whole


def doubtful(rows: pl.DataFrame, keys: tuple[str, ...]) -> tuple[Doubtful, ...]:
    """Rows of the judged table, with reasons, as records."""
    return tuple(_doubtful(row, keys) for row in rows.iter_rows(named=True))


def _doubtful(row: dict[str, Any], keys: tuple[str, ...]) -> Doubtful:
    top = keys[-1] if keys and keys[-1].endswith("+") else None
    count = None if row["count"] is None else str(row["count"])
    return Doubtful(
        bin=row["bin"],
        outcome=row["outcome"],
        recorded_count=row["recorded_count"],
        count=top if top is not None and count == top[:-1] and row["right"] is not None else count,
        right=row["right"],
        expected_off=row["expected_off"],
        expected_value=row["expected_value"],
        photo=row["photo"],
        reasons=tuple(row["reasons"]),
    )


def difference_of(table: pl.DataFrame, currency: str) -> Difference:
    """Over all records that were called wrong; an open top counts as its first count."""
    wrong = table.filter((pl.col("outcome") == "mismatch") & pl.col("difference").is_not_null())
    off, value = wrong["difference"], wrong["difference"] * wrong["unit_value"]
    known = value.null_count() == 0 and len(value) > 0
    return Difference(
        bins=wrong.height,
        gross=int(off.abs().sum()),
        net=int(off.sum()),
        gross_value=round(float(value.abs().sum()), 2) if known else None,
        net_value=round(float(value.sum()), 2) if known else None,
        currency=currency,
    )
