"""The benchmark's simulation, in small: equal models pass no more often than the level says, better ones more often."""

import importlib.util
import sys
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from bintally.registry.gates.settings import BetterSettings
from tests.conftest import ROOT


def _benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_promotion", ROOT / "benchmarks" / "promotion.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_promotion = _benchmark()
_LEVEL = BetterSettings().level
_TYPICAL = _promotion.OWN[_promotion.TYPICAL]


def _rates(gains: Any) -> dict[str, int]:
    passes = _promotion.passes(gains, level=_LEVEL, seed=1)
    return {metric: int(passed.sum()) for metric, passed in passes.items()}


@pytest.mark.parametrize("own", _promotion.OWN.values(), ids=_promotion.OWN)
@pytest.mark.parametrize("photos", [60, 250])
def test_models_that_are_only_as_good_are_promoted_no_more_often_than_the_level(own: float, photos: int) -> None:
    for metric, passed in _rates(_promotion.simulated(250, photos, 5, own=own)).items():
        assert binomtest(passed, 250, _LEVEL, alternative="greater").pvalue > 1e-3, (metric, passed)


def test_a_better_model_is_promoted_the_more_often_the_better_it_is() -> None:
    rates = [_rates(_promotion.simulated(100, 300, 6, own=_TYPICAL, points=points)) for points in (1, 3, 5)]
    for metric in ("log_loss", "accuracy"):
        one, three, five = (rate[metric] for rate in rates)
        assert one < three <= five
    assert rates[2]["log_loss"] > 85


def test_models_that_are_worse_by_the_margin_pass_as_as_good_no_more_often_than_the_level() -> None:
    draw = partial(_promotion.simulated, own=_TYPICAL, points=-100 * BetterSettings().margin)
    for photos, rate in _promotion.as_good(draw, simulations=100, seed=3, sizes=(60, 300)).items():
        passed = round(100 * rate.value)
        assert binomtest(passed, 100, _LEVEL, alternative="greater").pvalue > 1e-3, photos


def test_simulated_models_are_as_right_as_they_were_meant_to_be() -> None:
    gains = _promotion.simulated(30, 2000, 0, own=_TYPICAL, points=3)
    assert gains.accuracy_sn.mean() == pytest.approx(0.03, abs=0.006)
    assert np.abs(_promotion.simulated(10, 2000, 0, own=_TYPICAL).accuracy_sn).mean() == pytest.approx(0.23, abs=0.02)
    assert _promotion.scale_for(0) == 1.0


def test_swapped_real_answers_are_equal_models() -> None:
    """A model that is always better by a third of a nat: once swapped by bins, it passes as often as the level says."""
    rng = np.random.default_rng(0)
    real = _promotion.Gains(rng.normal(0.3, 1, (1, 300)), rng.choice([-1.0, 0, 1], (1, 300)), np.arange(300)[None] // 2)
    passed = _rates(_promotion.resampled(300, 200, 4, real=real, swapped=True))["log_loss"]
    assert binomtest(passed, 300, _LEVEL, alternative="greater").pvalue > 1e-3
    assert _rates(_promotion.resampled(100, 200, 4, real=real, swapped=False))["log_loss"] > 80
