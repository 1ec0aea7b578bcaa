from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from bintally.training.mixing import Mixing, cut_in, laid_over
from bintally.training.recipe import AugmentSettings

CLASSES = 7


def _batch(photos: int = 6, px: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Photos of one brightness each, so that what is in a pixel tells which photo it is from."""
    pixels_nchw = (20 + 30 * torch.arange(photos, dtype=torch.uint8)).view(-1, 1, 1, 1).expand(-1, 3, px, px)
    return pixels_nchw.contiguous(), torch.arange(photos) % CLASSES


def _mixed(seed: int, **settings: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return Mixing(AugmentSettings(**settings), CLASSES)(*_batch(), seed)


@given(seed=st.integers(0, 2**62), way=st.sampled_from(["mixup", "cutmix"]), alpha=st.floats(0.1, 4))
def test_labels_say_how_much_of_each_photo_is_in_the_pixels(seed: int, way: str, alpha: float) -> None:
    pixels_nchw, labels_n = _batch()
    mixed_nchw, shares_nk = _mixed(seed, **{way: alpha})
    assert torch.allclose(shares_nk.sum(dim=1), torch.ones(len(labels_n)))
    assert mixed_nchw.dtype == torch.uint8
    own_n = shares_nk[torch.arange(len(labels_n)), labels_n]
    means_n, before_n = pixels_nchw.float().mean(dim=(1, 2, 3)), pixels_nchw.roll(1, 0).float().mean(dim=(1, 2, 3))
    wanted_n = own_n * means_n + (1 - own_n) * before_n
    assert torch.allclose(mixed_nchw.float().mean(dim=(1, 2, 3)), wanted_n, atol=0.51)  # mixup rounds to bytes


def test_a_rectangle_comes_from_the_photo_before() -> None:
    pixels_nchw, _ = _batch()
    mixed_nchw, own = cut_in(pixels_nchw, 0.5, np.random.default_rng(1))
    from_before = (mixed_nchw == pixels_nchw.roll(1, 0)).all(dim=1)
    assert bool((from_before | (mixed_nchw == pixels_nchw).all(dim=1)).all())
    rows, columns = from_before[0].any(dim=1).nonzero(), from_before[0].any(dim=0).nonzero()
    assert from_before[0, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
    assert from_before[0].float().mean().item() == 1 - own


def test_laid_over_by_hand() -> None:
    pixels_nchw = torch.tensor([100, 200], dtype=torch.uint8).view(2, 1, 1, 1)
    assert laid_over(pixels_nchw, 0.75).flatten().tolist() == [125, 175]


def test_mixing_depends_on_the_seed_alone() -> None:
    (first, shares), _ = _mixed(4, mixup=0.4, cutmix=1.0), torch.rand(3)
    again, shares_again = _mixed(4, mixup=0.4, cutmix=1.0)
    assert torch.equal(first, again)
    assert torch.equal(shares, shares_again)
    assert not torch.equal(shares, _mixed(5, mixup=0.4, cutmix=1.0)[1])


def test_as_many_batches_are_mixed_as_asked_by_either_way() -> None:
    pixels_nchw, labels_n = _batch()
    plain, laid = 0, 0
    for seed in range(400):
        mixed_nchw, shares_nk = _mixed(seed, mixup=4.0, cutmix=4.0, mix_share=0.5)
        if torch.equal(mixed_nchw, pixels_nchw):
            assert torch.equal(shares_nk.argmax(dim=1), labels_n)
            plain += 1
        else:
            laid += bool((mixed_nchw[0] == mixed_nchw[0, 0, 0, 0]).all())
    assert 160 < plain < 240
    assert 70 < laid < 130
