"""The gradient noise scale, against a regression whose gradient noise is known in closed form."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bintally.progress import SILENT
from bintally.training.diagnose.before.noise_scale import NoiseScale, estimated, noise_scale, squared_norms
from bintally.training.plan import Plan
from bintally.training.rehearsal import Rehearsal
from tests.training.conftest import tiny_recipe


def _regression(*, noise: float, groups: int, batch_size: int = 8, batches: int = 4, width: int = 20) -> NoiseScale:
    """Of half the squared error of x.w against x.1 + noise, at w = 0 with x ~ N(0, I)."""
    drawn = torch.Generator().manual_seed(7)
    weights = nn.Parameter(torch.zeros(width))

    def next_loss() -> Tensor:
        x_nf = torch.randn(batch_size, width, generator=drawn)
        y_n = x_nf.sum(dim=1) + noise * torch.randn(batch_size, generator=drawn)
        return 0.5 * (x_nf @ weights - y_n).square().mean()

    small_g, big_g = squared_norms([weights], next_loss, groups=groups, batches=batches)
    return estimated(small_g, big_g, batch_size=batch_size, batches=batches, train_photos=10**9)


@pytest.mark.parametrize("noise", [0.0, 4.0, 12.0])
def test_a_regressions_noise_scale_is_what_algebra_says(noise: float) -> None:
    width = 20
    # The gradient of one example is -(x.1 + noise) x: its mean -1, E|.|^2 = (width + 2) width + noise^2 width.
    squared = width
    variance = (width + 1) * width + noise**2 * width
    found = _regression(noise=noise, groups=1500, width=width)
    assert found.gradient_squared == pytest.approx(squared, rel=0.1)
    assert found.variance == pytest.approx(variance, rel=0.05)
    assert found.photos == pytest.approx(variance / squared, rel=0.12)
    assert found.high is not None
    assert found.low < variance / squared < found.high


def test_few_batches_say_less() -> None:
    many, few = (_regression(noise=4.0, groups=groups) for groups in (400, 20))
    assert many.high is not None
    assert few.high is None or few.high / few.low > many.high / many.low


@given(
    squared=st.floats(0.01, 100),
    variance=st.floats(0.01, 1e4),
    batch_size=st.integers(1, 512),
    batches=st.integers(2, 32),
)
def test_exact_norms_give_the_exact_scale(squared: float, variance: float, batch_size: int, batches: int) -> None:
    small_g, big_g = (np.full(5, squared + variance / size) for size in (batch_size, batches * batch_size))
    found = estimated(small_g, big_g, batch_size=batch_size, batches=batches, train_photos=10**9)
    assert found.photos is not None
    assert found.photos == pytest.approx(variance / squared, rel=1e-3)
    assert found.low == pytest.approx(found.photos)
    assert found.high == pytest.approx(found.photos)
    assert found.suggested is not None
    assert found.suggested <= max(found.photos, 1.0) < 2 * max(found.suggested, 1) + 1e-6


def test_a_gradient_lost_in_noise_has_no_scale_but_a_lower_end() -> None:
    rng = np.random.default_rng(0)
    small_g = 10 + rng.standard_normal(50)
    big_g = 2.4 + 0.4 * rng.standard_normal(50)  # less than a quarter of the small ones: |G|^2 seems negative
    found = estimated(small_g, big_g, batch_size=16, batches=4, train_photos=10**9)
    assert found.photos is None
    assert found.high is None
    assert found.suggested is None
    assert found.low > 0
    assert "lost in noise" in found.sentence()


def test_words_follow_the_scale() -> None:
    def said(photos: float) -> str:
        small_g, big_g = (np.full(5, 1 + photos / size) for size in (32, 128))
        return estimated(small_g, big_g, batch_size=32, batches=4, train_photos=600).sentence()

    assert "smaller batch, about 8" in said(10)
    assert "that fits" in said(32)
    assert "up to about 256" in said(300)
    assert "up to about 512" in said(5000)  # there are only 600 photos


def test_a_network_is_left_as_it_was_and_the_measure_is_repeatable(data: Path) -> None:
    rehearsal = Rehearsal.of(Plan.of(tiny_recipe(), data), SILENT)
    before = {name: value.clone() for name, value in rehearsal.module.state_dict().items()}
    first = noise_scale(rehearsal, groups=3, batches=2, warmup_steps=4)
    assert all(torch.equal(before[name], value) for name, value in rehearsal.module.state_dict().items())
    assert all(parameter.grad is None for parameter in rehearsal.module.parameters())
    assert noise_scale(rehearsal, groups=3, batches=2, warmup_steps=4) == first
    assert first.batch_size == 16
    assert first.variance > 0
