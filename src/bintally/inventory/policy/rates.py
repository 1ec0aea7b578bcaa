"""How often records of a bin, of its product and of its ABC class are wrong: shrinkage from site to bin.

A hierarchical beta-binomial model: what is known of a level is a beta distribution whose mean is the level's above, as
strong as so many outcomes (`Strengths`); confirmed outcomes are added to it. So a bin without outcomes is taken for one
of its product, and so on up to `wrong_records`, the guess for the whole site.

Doubtful records are always looked at, accepted ones only where they are drawn for a blind recount, so outcomes weigh
1 / propensity, the chance that such a record had of being looked at (Horvitz & Thompson 1952): the rate is of all
records, not of the doubtful ones. Weights of different size say less than as many equal ones: all are scaled by one
factor, so that their sum is the effective number of outcomes (Kish 1965).
"""

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import betaincinv

from bintally.errors import DataError
from bintally.inventory.policy.settings import PolicySettings

LEVELS: Final = ("abc_class", "product", "bin")
OUTCOMES: Final = ("abc_class", "product", "bin", "wrong", "propensity")
"""Columns of confirmed outcomes: names, whether the record was wrong, the chance that it was looked at."""


def rates(records: pl.DataFrame, outcomes: pl.DataFrame, settings: PolicySettings) -> pl.DataFrame:
    """The share of wrong records among those like each: columns `mean` and `upper`, a row a row of `records`.

    `records` has the columns `abc_class`, `product` and `bin`; `outcomes` those of `OUTCOMES`. `upper` is the quantile
    `rate_quantile` of what is known of the bin, and at least the mean.

    Raises:
        DataError: a column is missing, or a propensity is not above 0 and up to 1.
    """
    _check(records, LEVELS, "records")
    _check(outcomes, OUTCOMES, "outcomes")
    if not outcomes["propensity"].is_between(0.0, 1.0, closed="right").all():
        raise DataError("A propensity is not above 0 and up to 1.", hint="It is the chance of being looked at.")
    weighed = outcomes.with_columns(weight=1.0 / pl.col("propensity").cast(pl.Float64))
    scale = _scale(weighed["weight"].to_numpy())
    weighed = weighed.select(
        *LEVELS, weight=pl.col("weight") * scale, wrong=pl.col("weight") * scale * pl.col("wrong").cast(pl.Float64)
    )
    strength = settings.strength
    prior = settings.wrong_records * strength.site
    wrong, weight = (float(weighed[name].sum()) for name in ("wrong", "weight"))
    site = (prior + wrong) / (strength.site + weight)
    table = records.select(LEVELS).with_columns(mean=pl.lit(site))
    for depth, level in enumerate(LEVELS, 1):
        above = float(getattr(strength, level))
        of_level = weighed.group_by(LEVELS[:depth]).agg(pl.col("wrong").sum(), pl.col("weight").sum())
        table = (
            table.join(of_level, on=LEVELS[:depth], how="left", maintain_order="left", nulls_equal=True)
            .with_columns(pl.col("wrong", "weight").fill_null(0.0))
            .with_columns(
                alpha=pl.col("mean") * above + pl.col("wrong"),
                beta=(1.0 - pl.col("mean")) * above + pl.col("weight") - pl.col("wrong"),
            )
            .with_columns(mean=pl.col("alpha") / (pl.col("alpha") + pl.col("beta")))
            .drop("wrong", "weight")
        )
    return table.select("mean", upper=pl.Series(_upper(table, settings.rate_quantile)))


def _upper(table: pl.DataFrame, quantile: float) -> NDArray[np.float64]:
    """The quantile of each row's beta distribution; most rows are alike, so each is worked out once."""
    each = table.select("alpha", "beta").unique()
    found = betaincinv(each["alpha"].to_numpy(), each["beta"].to_numpy(), quantile)
    joined = table.join(
        each.with_columns(found=pl.Series(found)), on=["alpha", "beta"], how="left", maintain_order="left"
    )
    upper: NDArray[np.float64] = np.maximum(joined["found"].to_numpy(), table["mean"].to_numpy())
    return upper


def _scale(weight_n: NDArray[np.float64]) -> float:
    return float(weight_n.sum() / np.square(weight_n).sum()) if len(weight_n) else 1.0


def _check(table: pl.DataFrame, columns: tuple[str, ...], name: str) -> None:
    if missing := [column for column in columns if column not in table.columns]:
        raise DataError(f"The {name} lack {', '.join(missing)}.", hint=f"They need {', '.join(columns)}.")
