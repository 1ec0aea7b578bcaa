"""How often records become wrong at this site, learnt from what people found: site, class, product, bin.

A count tells whether a record that was right at the count before has become wrong since: "current status data" of a
Poisson process. Its rates a movement and a day are found by expectation maximisation (Dempster, Laird & Rubin 1977): a
record found wrong has had L / (1 - exp(-L)) errors on average, L being those expected, and they are shared out over
movements, days and miscounts as those contribute to L. A gamma prior keeps few outcomes from saying much.

How much worse than its site a bin is (`factor`) is a gamma frailty (Vaupel, Manton & Stallard 1979), level by level as
`policy.rates` has it: errors found by errors expected, beside so many of the level above. Outcomes weigh
1 / propensity, the chance of such a record to be looked at, scaled to their effective number (Kish 1965).
"""

from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bintally.errors import DataError
from bintally.inventory.planning.settings import Hazard, PlanSettings

LEVELS: Final = ("abc", "product", "bin")
COUNTED: Final = (*LEVELS, "touches", "days", "wrong", "propensity")
"""Columns of counts that had a count before: names, movements and days between both, whether the record was wrong at
the later one, and the chance that it was looked at."""

_ROUNDS: Final = 200
_CLOSE: Final = 1e-6

Floats = NDArray[np.float64]


class Learnt(NamedTuple):
    """The site's rates, what each level's factors are made from, and how many counts that rests on."""

    hazard: Hazard
    found: pl.DataFrame  # LEVELS, errors, expected
    counts: int


def learn(counted: pl.DataFrame, settings: PlanSettings) -> Learnt:
    """The rates at which records become wrong. `counted` has the columns of `COUNTED`.

    Raises:
        DataError: a column is missing.
    """
    if missing := [name for name in COUNTED if name not in counted.columns]:
        raise DataError(f"The counts lack {', '.join(missing)}.", hint=f"They need {', '.join(COUNTED)}.")
    touches_n, days_n, share_n = (
        counted[name].cast(pl.Float64).to_numpy() for name in ("touches", "days", "propensity")
    )
    wrong_n = counted["wrong"].cast(pl.Boolean).to_numpy()
    weight_n = _weights(share_n)
    prior, miscount = settings.hazard, -float(np.log1p(-settings.miscount))
    touch, day = prior.touch, prior.day
    errors_n = expected_n = np.zeros(len(counted))
    for _ in range(_ROUNDS if len(counted) else 0):
        by_touch_n, by_day_n = touch * touches_n, day * days_n
        per_n = weight_n * _errors(wrong_n, miscount + by_touch_n + by_day_n)
        errors_n, expected_n = per_n * (by_touch_n + by_day_n), weight_n * (by_touch_n + by_day_n)
        last = touch, day
        touch = _rate(prior.touch, prior.strength, per_n * by_touch_n, weight_n * touches_n)
        day = _rate(prior.day, prior.strength, per_n * by_day_n, weight_n * days_n)
        if max(abs(touch - last[0]) / touch, abs(day - last[1]) / day) < _CLOSE:
            break
    found = counted.select(LEVELS).with_columns(errors=pl.Series(errors_n), expected=pl.Series(expected_n))
    hazard = prior.model_copy(update={"touch": min(touch, _MOST), "day": min(day, _MOST)})
    return Learnt(hazard, found, len(counted))


def factors(bins: pl.DataFrame, learnt: Learnt) -> pl.Series:
    """How many times as often as the site's the record of each of `bins` (columns `LEVELS`) becomes wrong."""
    table = bins.select(LEVELS).with_columns(factor=pl.lit(1.0))
    found = learnt.found.with_columns(own=pl.lit(1.0))  # what the levels above say of each count
    for depth, level in enumerate(LEVELS, 1):
        strength, names = float(getattr(learnt.hazard, level)), list(LEVELS[:depth])
        sums = found.group_by(names).agg(pl.col("errors").sum(), (pl.col("expected") * pl.col("own")).sum())
        worse = sums.select(*names, worse=(strength + pl.col("errors")) / (strength + pl.col("expected")))
        table, found = (
            each.join(worse, on=names, how="left", maintain_order="left", nulls_equal=True)
            .with_columns((pl.col(name) * pl.col("worse").fill_null(1.0)).alias(name))
            .drop("worse")
            for each, name in ((table, "factor"), (found, "own"))
        )
    return table["factor"]


def _errors(wrong_n: NDArray[np.bool_], expected_n: Floats) -> Floats:
    """[N] errors there were, given what was found, by those expected."""
    known_n = np.maximum(expected_n, 1e-12)
    errors_n: Floats = np.where(wrong_n, -1.0 / np.expm1(-known_n), 0.0)
    return errors_n


def _rate(guess: float, strength: float, errors_n: Floats, chances_n: Floats) -> float:
    """The mean of the gamma distribution that the guess becomes."""
    return float((strength + errors_n.sum()) / (strength / guess + chances_n.sum()))


def _weights(share_n: Floats) -> Floats:
    weight_n: Any = 1.0 / share_n
    return np.asarray(weight_n * (weight_n.sum() / np.square(weight_n).sum()) if len(weight_n) else weight_n)


_MOST: Final = 0.99
