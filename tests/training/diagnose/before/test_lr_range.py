"""The learning-rate range test: on curves whose answer is known, and on a real network that must not change."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bintally.progress import SILENT
from bintally.training.diagnose.before.lr_range import LrRange, judged, local_lines, lr_range
from bintally.training.plan import Plan
from bintally.training.rehearsal import Rehearsal
from tests.training.conftest import tiny_recipe

Floats = NDArray[np.float64]

RATES = np.geomspace(1e-6, 1.0, 121)  # 20 steps a decade


def _judged(losses: Floats, *, own: float = 1e-3, diverged_at: float | None = None) -> LrRange:
    return judged(RATES, losses, of="body", own=own, head_ratio=10.0, diverged_at=diverged_at, width=3.0)


def _valley(seed: int, noise: float) -> Floats:
    """Falls from 2 to 1 as a sigmoid around 1e-3, and breaks away after 1e-1."""
    decades = np.log10(RATES)
    losses: Floats = 2 - 1 / (1 + np.exp(-4 * (decades + 3))) + np.exp(12 * (decades + 0.8))
    return np.asarray(losses + noise * np.random.default_rng(seed).standard_normal(len(RATES)))


@given(seed=st.integers(0, 1000))
def test_both_suggestions_are_where_the_curve_has_them(seed: int) -> None:
    found = _judged(_valley(seed, noise=0.02))
    assert found.steepest is not None
    assert found.tenth_of_minimum is not None
    assert abs(math.log10(found.steepest / 1e-3)) < 0.25
    assert 10**-1.9 < 10 * found.tenth_of_minimum < 10**-0.9
    assert found.fits


def test_a_loss_that_only_wavers_suggests_nothing() -> None:
    every = [_judged(2 + 0.05 * np.random.default_rng(seed).standard_normal(len(RATES))) for seed in range(300)]
    silent = [found for found in every if found.steepest is None and found.tenth_of_minimum is None]
    assert len(silent) > 0.99 * len(every)
    assert all(found.fits and "can't suggest" in found.sentence() for found in silent)


@pytest.mark.parametrize(("own", "words"), [(1e-6, "low"), (1e-3, "in the range"), (0.9, "too high")])
def test_the_recipes_rate_is_placed(own: float, words: str) -> None:
    found = _judged(_valley(0, noise=0.0), own=own)
    assert words in found.sentence()
    assert found.fits == (words == "in the range")


def test_at_a_rate_that_broke_away_the_recipe_is_too_high() -> None:
    found = _judged(_valley(0, noise=0.0), own=0.06, diverged_at=0.05)
    assert not found.fits


@given(start=st.floats(-5, 5), slope=st.floats(-1, 1), width=st.floats(1, 10))
def test_lines_stay_as_they_are(start: float, slope: float, width: float) -> None:
    values = np.linspace(start, start + 39 * slope, 40)
    smoothed, slopes = local_lines(values, width)
    np.testing.assert_allclose(smoothed, values, atol=1e-8)
    np.testing.assert_allclose(slopes, slope, atol=1e-8)


@pytest.mark.parametrize("tune", ["all", "head"])
def test_a_network_is_left_as_it_was_and_the_test_is_repeatable(data: Path, tune: str) -> None:
    recipe = tiny_recipe(network={"tune": tune, "drop_rate": 0.2})
    rehearsal = Rehearsal.of(Plan.of(recipe, data), SILENT)
    before = {name: value.clone() for name, value in rehearsal.module.state_dict().items()}
    random_state = torch.get_rng_state()
    first = lr_range(rehearsal, steps=25)
    assert all(torch.equal(before[name], value) for name, value in rehearsal.module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert lr_range(rehearsal, steps=25) == first
    assert first.of == ("head" if tune == "head" else "body")
    assert first.own == pytest.approx(2e-3)
    assert len(first.losses) == len(first.rates) == len(first.smoothed) <= 25
    assert first.rates[0] == pytest.approx(1e-7)


def test_rates_keep_their_ratio_and_the_loss_breaks_away(data: Path) -> None:
    recipe = tiny_recipe(optimizer={"name": "sgd", "body_lr": 1e-3, "head_lr": 1e-1})
    found = lr_range(Rehearsal.of(Plan.of(recipe, data), SILENT), steps=60)
    assert found.head_ratio == pytest.approx(100)
    assert found.diverged_at is not None
    assert found.diverged_at > 1e-3
    assert len(found.losses) < 60
