"""What a look at a bin is worth: for a count by a person and for a photo by a robot.

    at stake   P(wrong) x what an error costs that stays: `escape`, or the items' value where that is more
    a count    at stake - a count: it finds the error, and the record is mended
    a photo    P(wrong) x finds x (an error's cost - a count), as a person must count what it finds,
               - P(right) x (1 - spares) x a recount, for those whom it makes look in vain, - a photo

`finds` and `spares` are what was measured of the model (`power`). Photos of one bin err alike: where nothing has moved
since the last one, another tells only `photo_again` as much. A second photo finds a quarter as large a share of what
the first let pass as the first of all (docs/results.md: of 44.7% and 49.4% accepted 1.1% and 0.8% were wrong).
"""

from typing import Final

import polars as pl

from bintally.inventory.planning.hazard import wrong_today
from bintally.inventory.planning.settings import YEAR_DAYS, PlanSettings
from bintally.inventory.policy.cases import CLASSES

_MICRO: Final = 1e6
_MOST: Final = 1e12  # of money, so that millionths of it fit into 64 bits


def scored(candidates: pl.DataFrame, settings: PlanSettings) -> pl.DataFrame:
    """`candidates.checked` with wrong, loss, at_stake, worth_count, worth_photo, overdue (1 and more: it is), due_days.

    `overdue`: days since the last count by the calendar's days between counts; infinite of a bin never counted, 0 of a
    class without a calendar. `due_days`: the calendar's.
    """
    wrong, loss = pl.col("wrong"), pl.col("loss")
    table = candidates.with_columns(
        wrong=wrong_today(settings).clip(0.0, 1.0), loss=_loss(settings), due_days=_due_days(settings)
    )
    costs = settings.costs
    found = wrong * _power(settings, "finds") * (loss - costs.count).clip(lower_bound=0.0)
    vain = (1.0 - wrong) * (1.0 - _power(settings, "spares")) * costs.recount
    return table.with_columns(
        at_stake=wrong * loss,
        worth_count=wrong * loss - costs.count,
        worth_photo=_news(settings) * (found - vain) - settings.cost_photo,
        overdue=pl.when(pl.col("due_days").is_null())
        .then(0.0)
        .otherwise((pl.col("days_since_count") / pl.col("due_days")).fill_null(float("inf"))),
    )


def millionths(money: pl.Expr) -> pl.Expr:
    """Money as whole numbers, whose sums are exact in any order."""
    return (money.clip(-_MOST, _MOST) * _MICRO).round().cast(pl.Int64)


def _loss(settings: PlanSettings) -> pl.Expr:
    """What an error costs that stays; a record of unknown value is worth nothing, as in the queue of reviews."""
    mix = settings.errors
    off = (mix.one + 2.0 * mix.two + mix.anything * pl.col("units").clip(lower_bound=1)) / (
        mix.one + mix.two + mix.anything
    )
    escape = _by_class({name: settings.escape_by_class.get(name, settings.costs.escape) for name in CLASSES})
    return pl.max_horizontal(escape, off * pl.col("unit_value").fill_null(0.0))


def _power(settings: PlanSettings, what: str) -> pl.Expr:
    return _by_class({name: getattr(settings.photo_by_class.get(name, settings.photo), what) for name in CLASSES})


def _news(settings: PlanSettings) -> pl.Expr:
    """How much of what a first photo tells another one would."""
    same = pl.col("right").is_not_null() & pl.col("days_since_photo").is_not_null() & (pl.col("moves_since") == 0)
    return pl.when(same).then(settings.photo_again).otherwise(1.0)


def _due_days(settings: PlanSettings) -> pl.Expr:
    yearly = settings.counts_a_year
    return _by_class({name: YEAR_DAYS / yearly[name] if yearly.get(name, 0.0) > 0.0 else None for name in CLASSES})


def _by_class(values: dict[str, float | None]) -> pl.Expr:
    return pl.col("abc").replace_strict(values, return_dtype=pl.Float64)
