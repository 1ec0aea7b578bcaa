"""What a version costs beside the champion: real models timed, and what follows from times."""

from pathlib import Path

import numpy as np
import pytest

from bintally.counting.counter import Counter
from bintally.registry.gates.cost import Times, measure, measure_until_fast, speed
from bintally.registry.gates.settings import SpeedSettings
from tests.bundles import bin_photo, make_bundle
from tests.registry.gates.test_quality import _case, _right, versions

__all__ = ["versions"]


def test_each_photo_is_timed_with_both_models(tmp_path: Path) -> None:
    counters = [Counter(make_bundle(tmp_path / name, sharpness=n + 1.0), threads=1) for n, name in enumerate("ab")]
    took = measure([bin_photo(n % 7, seed=n) for n in range(20)], *counters)
    assert took.champions_n is not None
    assert took.mine_n.shape == took.champions_n.shape == (20,)
    assert (took.mine_n > 0).all()
    assert measure([bin_photo(1)] * 3, counters[0], None).champions_n is None


def test_figures_are_medians_and_ratios_with_intervals() -> None:
    champions_n = np.random.default_rng(0).uniform(9, 11, 200)
    figures = Times(2 * champions_n, champions_n).figures(seed=0)
    assert figures["p50"].value == pytest.approx(2.0)
    assert figures["p50"].low == pytest.approx(2.0)
    assert figures["p50_ms"].value == pytest.approx(20, abs=0.5)
    assert set(Times(champions_n, None).figures(seed=0)) == {"p50_ms", "p95_ms"}


def test_a_busy_machine_is_asked_again_and_a_slow_model_stays_slow() -> None:
    champions_n = np.full(60, 10.0)
    tries = iter([Times(2 * champions_n, champions_n), Times(champions_n, champions_n)])
    assert measure_until_fast(lambda: next(tries), SpeedSettings(), 0).figures(0)["p50"].value == 1.0
    slow = measure_until_fast(lambda: Times(2 * champions_n, champions_n), SpeedSettings(), 0)
    assert slow.figures(0)["p50"].value == 2.0


@pytest.mark.parametrize(
    ("ratio", "limits", "says"),
    [
        (1.1, {}, None),
        (1.3, {}, "the median is 1.3 times the champion's, at most 1.25 is allowed"),
        (1.3, {"slower": 1.4}, None),
        (0.5, {"p50_ms": 4.0}, "ms, at most 4 ms is allowed"),
        (0.5, {"p95_ms": 4.0}, "the 95th percentile is"),
    ],
)
def test_slower_than_the_limit_is_refused(
    versions: tuple,  # type: ignore[type-arg]
    ratio: float,
    limits: dict[str, float],
    says: str | None,
) -> None:
    gate = speed(_case(versions, _right(0.5), _right(0.5), time_ratio=ratio, speed=limits))
    assert gate.passed is (says is None)
    assert (says or "times as long") in gate.reason
