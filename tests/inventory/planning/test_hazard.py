"""P(wrong) today, and what is learnt of it from counts."""

import math

import numpy as np
import polars as pl
import pytest

from bintally.errors import DataError
from bintally.inventory.planning.candidates import checked
from bintally.inventory.planning.hazard import wrong_today
from bintally.inventory.planning.learn import COUNTED, factors, learn
from bintally.inventory.planning.settings import Hazard, PlanSettings
from tests.inventory.planning.tables import bins

SETTINGS = PlanSettings(miscount=0.01, wrong_records=0.1, hazard=Hazard(touch=0.02, day=0.001))


def _wrong(**row: object) -> float:
    return float(checked(bins(row)).select(wrong_today(SETTINGS)).item())


def _at_right(share: float, expected: float) -> object:
    return pytest.approx(1.0 - share * math.exp(-expected))


def test_what_was_known_at_the_last_look_wears_off_with_movements_and_days() -> None:
    counted = {"days_since_count": 10.0, "moves_since": 5}
    assert _wrong(**counted) == _at_right(0.99, 0.02 * 5 + 0.001 * 10)
    assert _wrong(**counted, factor=3.0) == _at_right(0.99, 3 * (0.02 * 5 + 0.001 * 10))
    seen = {"days_since_count": 90.0, "right": 0.7, "days_since_photo": 4.0, "moves_since": 5}
    assert _wrong(**seen) == _at_right(0.7, 0.02 * 5 + 0.001 * 4)
    assert _wrong(**seen | {"days_since_count": 4.0}) == _at_right(0.99, 0.02 * 5 + 0.001 * 4), "a count settles it"


def test_a_bin_nobody_has_looked_at_has_the_sites_rate() -> None:
    assert _wrong(days_since_count=None) == pytest.approx(0.1)
    assert _wrong(days_since_count=None, rate=0.3) == pytest.approx(0.3)
    assert _wrong(days_since_count=None, moves_since=7) == _at_right(0.9, 0.14)


def _counted(many: int, seed: int, *, touch: float, day: float, worse: float = 1.0) -> pl.DataFrame:
    """Counts of a site whose second product goes wrong `worse` times as often."""
    chance = np.random.default_rng(seed)
    touches, days, product = chance.poisson(8, many), chance.integers(1, 200, many), chance.integers(0, 2, many)
    expected = (touch * touches + day * days) * np.where(product == 1, worse, 1.0)
    return pl.DataFrame(
        {
            "abc": ["A"] * many,
            "product": product,
            "bin": np.arange(many) % 50,
            "touches": touches,
            "days": days,
            "wrong": chance.random(many) < 1.0 - np.exp(-expected),
            "propensity": np.ones(many),
        }
    )


def test_without_counts_the_guess_stands() -> None:
    learnt = learn(_counted(1, 0, touch=0.1, day=0.1).clear(), SETTINGS)
    assert (learnt.hazard, learnt.counts) == (SETTINGS.hazard, 0)
    assert factors(pl.DataFrame({"abc": ["A"], "product": [1], "bin": [1]}), learnt).to_list() == [1.0]


def test_a_sites_rates_are_found_from_its_counts() -> None:
    learnt = learn(_counted(20_000, 3, touch=0.01, day=0.0006), PlanSettings(miscount=0.0))
    assert learnt.hazard.touch == pytest.approx(0.01, rel=0.15)
    assert learnt.hazard.day == pytest.approx(0.0006, rel=0.15)


def test_a_product_that_goes_wrong_more_often_is_known_by_it() -> None:
    learnt = learn(_counted(20_000, 4, touch=0.002, day=0.0001, worse=5.0), PlanSettings(miscount=0.0))
    rows = pl.DataFrame({"abc": ["A", "A", "A", "C"], "product": [0, 1, None, 1], "bin": [999] * 4})
    good, bad, unknown, other = factors(rows, learnt).to_list()
    assert bad / good == pytest.approx(5.0, rel=0.3)
    assert unknown == pytest.approx(1.0, abs=0.1)
    assert other == 1.0, "nothing is known of its class"


def test_few_counts_say_little() -> None:
    few = _counted(4, 5, touch=0.01, day=0.0).with_columns(wrong=pl.lit(value=True))
    learnt = learn(few, SETTINGS)
    assert SETTINGS.hazard.touch < learnt.hazard.touch < 4 * SETTINGS.hazard.touch
    assert all(1.0 <= factor < 4.0 for factor in factors(few, learnt))


def test_records_seldom_looked_at_count_for_those_like_them() -> None:
    table = _counted(4000, 6, touch=0.02, day=0.0)
    doubtful = table.with_columns(wrong=pl.lit(value=True)).head(400)
    together = pl.concat([table.with_columns(propensity=pl.lit(0.1)), doubtful])
    plain = pl.concat([table, doubtful])
    honest, biased = (learn(each, PlanSettings(miscount=0.0)).hazard.touch for each in (together, plain))
    assert abs(honest - 0.02) < abs(biased - 0.02)


def test_a_wrong_record_that_nothing_happened_to_is_a_miscount() -> None:
    still = _counted(50, 7, touch=0.0, day=0.0).with_columns(
        touches=pl.lit(0), days=pl.lit(0.0), wrong=pl.lit(value=True)
    )
    assert learn(still, SETTINGS).hazard == SETTINGS.hazard
    assert learn(still, SETTINGS.model_copy(update={"miscount": 0.0})).hazard == SETTINGS.hazard


def test_counts_without_a_column_are_refused() -> None:
    with pytest.raises(DataError, match="lack propensity"):
        learn(pl.DataFrame({name: [] for name in COUNTED if name != "propensity"}), SETTINGS)
