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
from scipy.special import betainc, betaincinv

from bintally.errors import DataError
from bintally.inventory.policy.settings import PolicySettings

LEVELS: Final = ("abc_class", "product", "bin")
OUTCOMES: Final = ("abc_class", "product", "bin", "wrong", "propensity")
"""Columns of confirmed outcomes: names, whether the record was wrong, the chance that it was looked at."""


def rates(records: pl.DataFrame, outcomes: pl.DataFrame, settings: PolicySettings) -> pl.DataFrame:
    """The share of wrong records among those like each: columns `mean` and `upper`, a row a row of `records`.

    `records` has the columns `abc_class`, `product` and `bin`; `outcomes` those of `OUTCOMES`. `upper` starts from the
    quantile `rate_quantile` of what is known of the site instead of its mean: without outcomes it is `wrong_records`.
    That bins differ from each other is no reason for more: among many records the mean over them is what counts.

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
    mean, upper = _site(weighed, settings)
    table = records.select(LEVELS).with_columns(mean=pl.lit(mean), upper=pl.lit(upper))
    for depth, level in enumerate(LEVELS, 1):
        above = float(getattr(settings.strength, level))
        of_level = weighed.group_by(LEVELS[:depth]).agg(pl.col("wrong").sum(), pl.col("weight").sum())
        table = (
            table.join(of_level, on=LEVELS[:depth], how="left", maintain_order="left", nulls_equal=True)
            .with_columns(pl.col("wrong", "weight").fill_null(0.0))
            .with_columns((pl.col("mean", "upper") * above + pl.col("wrong")) / (above + pl.col("weight")))
            .drop("wrong", "weight")
        )
    return table.select("mean", "upper")


def _site(weighed: pl.DataFrame, settings: PolicySettings) -> tuple[float, float]:
    """Mean and upper quantile of the whole site's rate."""
    strength = settings.strength.site
    guess = _guessed_mean(settings.wrong_records, strength, settings.rate_quantile)
    wrong = guess * strength + float(weighed["wrong"].sum())
    right = strength + float(weighed["weight"].sum()) - guess * strength - float(weighed["wrong"].sum())
    mean = wrong / (wrong + right)
    return mean, max(mean, float(betaincinv(wrong, right, settings.rate_quantile)))


def _guessed_mean(upper: float, strength: float, quantile: float) -> float:
    """The mean of the beta distribution, as strong as `strength` outcomes, that has `upper` as that quantile."""
    low, high = 0.0, upper
    for _ in range(60):
        mean = (low + high) / 2
        if mean > 0.0 and betainc(mean * strength, (1.0 - mean) * strength, upper) < quantile:
            high = mean
        else:
            low = mean
    return high


def _scale(weight_n: NDArray[np.float64]) -> float:
    return float(weight_n.sum() / np.square(weight_n).sum()) if len(weight_n) else 1.0


def _check(table: pl.DataFrame, columns: tuple[str, ...], name: str) -> None:
    if missing := [column for column in columns if column not in table.columns]:
        raise DataError(f"The {name} lack {', '.join(missing)}.", hint=f"They need {', '.join(columns)}.")
