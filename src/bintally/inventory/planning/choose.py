"""choose: the bins of a day's plan, a pure function of a table, a capacity and settings."""

import math
from typing import Final

import polars as pl

from bintally.inventory.planning.assign import COUNTED, PHOTOGRAPHED, assign
from bintally.inventory.planning.candidates import COUNT, OVERDUE, PHOTO, checked
from bintally.inventory.planning.settings import Capacity, PlanSettings
from bintally.inventory.planning.worth import millionths, scored

WORTH: Final = "worth"


def choose(candidates: pl.DataFrame, capacity: Capacity, settings: PlanSettings | None = None) -> pl.DataFrame:
    """The bins to look at, each once: counts first, those worth most first.

    `candidates` as `planning.candidates` has them. Columns added: look ("count" or "photo"), why ("overdue": set aside
    for the calendar; "worth"), wrong (P), loss, at_stake, worth (money), overdue, due_days. A share of the counts goes
    to the bins longest overdue; the rest of both capacities so that the sum of what the looks are worth is as large as
    it can be (`assign`), a look planned before and not done counting `keep` times what it has at stake.

    The same bins in another order make the same plan. Of two bins alike in all but P(wrong), the one more likely wrong
    is never left out for the other.

    Raises:
        DataError: the table lacks a column, has a bin twice, or a value that can't be.
    """
    settings = settings or PlanSettings()
    capacity = Capacity(*(max(int(many), 0) for many in capacity))
    table = _valued(scored(checked(candidates), settings), settings).sort(["wrong", "bin"], descending=[True, False])
    reserve = _overdue(table, math.floor(settings.overdue_share * capacity.counts + 1e-9))
    rest = table.join(reserve, on="bin", how="anti", maintain_order="left")
    looks = assign(
        rest["value_count"].to_numpy(),
        rest["value_photo"].to_numpy(),
        Capacity(capacity.counts - len(reserve), capacity.photos),
        fill_counts=settings.fill_counts,
        fill_photos=settings.fill_photos,
    )
    chosen = [
        _told(reserve, COUNT, OVERDUE),
        _told(rest.filter(pl.Series(looks == COUNTED)), COUNT, WORTH),
        _told(rest.filter(pl.Series(looks == PHOTOGRAPHED)), PHOTO, WORTH),
    ]
    return pl.concat(chosen).sort(["look", "worth", "bin"], descending=[False, True, False])


def _valued(table: pl.DataFrame, settings: PlanSettings) -> pl.DataFrame:
    """With what each look is worth in whole millionths of money, more where it was planned before."""
    more = (settings.keep - 1.0) * pl.col("at_stake")
    planned = (pl.col("planned").is_in(names).fill_null(value=False) for names in ((COUNT, OVERDUE), (PHOTO,)))
    kept = [pl.when(still).then(more).otherwise(0.0) for still in planned]
    return table.with_columns(
        value_count=millionths(pl.col("worth_count") + kept[0]),
        value_photo=millionths(pl.col("worth_photo") + kept[1]),
    )


def _overdue(table: pl.DataFrame, most: int) -> pl.DataFrame:
    """The bins longest overdue; those that were set aside before and not done first, so that they stay."""
    if most <= 0:
        return table.clear()
    planned = pl.col("planned").eq_missing(OVERDUE)
    ordered = table.filter(pl.col("overdue") >= 1.0).sort(
        [planned, pl.col("overdue"), pl.col("value_count")], descending=True, maintain_order=True
    )
    return ordered.head(most)


def _told(rows: pl.DataFrame, look: str, why: str) -> pl.DataFrame:
    worth = pl.col("worth_count" if look == COUNT else "worth_photo").alias("worth")
    told = rows.with_columns(worth, look=pl.lit(look), why=pl.lit(why))
    return told.drop("worth_count", "worth_photo", "value_count", "value_photo")
