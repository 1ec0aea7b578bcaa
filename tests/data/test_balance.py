from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bintally.data.balance import BalanceSettings, balanced_indices, class_weights
from bintally.errors import ConfigError, DataError

LABELS = np.repeat([1, 2, 5], [60, 20, 7])
labels = st.lists(st.integers(0, 6), min_size=1, max_size=80).map(np.array)


def counted(method: str, epoch: int = 0, **more: object) -> dict[int, int]:
    settings = BalanceSettings.of({"method": method, **more})
    return dict(Counter(LABELS[balanced_indices(LABELS, settings=settings, seed=0, epoch=epoch)].tolist()))


def test_none_and_class_weights_show_each_photo_once() -> None:
    for method in ("none", "class_weights"):
        settings = BalanceSettings.of({"method": method})
        indices = balanced_indices(LABELS, settings=settings, seed=0, epoch=0)
        assert sorted(indices.tolist()) == list(range(LABELS.size))
        assert indices.tolist() != sorted(indices.tolist())


def test_undersampling_comes_down_to_the_rarest_count() -> None:
    assert counted("undersample") == {1: 7, 2: 7, 5: 7}


def test_oversampling_goes_up_to_the_commonest_count() -> None:
    assert counted("oversample") == {1: 60, 2: 60, 5: 60}


def test_keep_thins_a_count_before_balancing() -> None:
    assert counted("none", keep={"1": 0.5}) == {1: 30, 2: 20, 5: 7}
    assert counted("oversample", keep={"1": 0.5}) == {1: 30, 2: 30, 5: 30}
    assert counted("none", keep={"5": 0.001})[5] == 1


def test_undersampling_draws_anew_each_epoch_until_all_were_seen() -> None:
    settings = BalanceSettings(method="undersample")
    epochs = [set(balanced_indices(LABELS, settings=settings, seed=0, epoch=epoch).tolist()) for epoch in range(120)]
    assert epochs[0] != epochs[1]
    assert set().union(*epochs) == set(range(LABELS.size))


@given(labels, st.integers(0, 5), st.integers(0, 5))
def test_oversampling_repeats_photos_of_a_count_equally_often(
    labels_n: NDArray[np.int64], seed: int, epoch: int
) -> None:
    indices = balanced_indices(labels_n, settings=BalanceSettings(method="oversample"), seed=seed, epoch=epoch)
    times = np.bincount(indices, minlength=labels_n.size)
    for label in np.unique(labels_n):
        assert np.ptp(times[labels_n == label]) <= 1
        assert times[labels_n == label].min() >= 1


@given(labels, st.sampled_from(("none", "undersample", "oversample")), st.integers(0, 5), st.integers(0, 5))
def test_the_same_seed_and_epoch_give_the_same_photos(
    labels_n: NDArray[np.int64], method: str, seed: int, epoch: int
) -> None:
    settings = BalanceSettings.of({"method": method, "keep": {"2": 0.4}})
    first, again = (balanced_indices(labels_n, settings=settings, seed=seed, epoch=epoch) for _ in range(2))
    assert (first == again).all()
    assert set(labels_n[first].tolist()) == set(labels_n.tolist())


@given(labels)
def test_class_weights_give_each_count_the_same_say_and_keep_the_loss_scale(labels_n: NDArray[np.int64]) -> None:
    weights = class_weights(labels_n, 7)
    assert weights.dtype == np.float32
    assert weights[labels_n].mean() == pytest.approx(1, rel=1e-5)
    says = [weights[label] * (labels_n == label).sum() for label in np.unique(labels_n)]
    assert says == pytest.approx([says[0]] * len(says), rel=1e-5)
    assert not weights[np.setdiff1d(np.arange(7), labels_n)].any()


@pytest.mark.parametrize("keep", [{"1": 0}, {"1": 1.5}, {"7": 0.5}])
def test_a_wrong_keep_is_told(keep: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="keep"):
        BalanceSettings.of({"keep": keep})


def test_nothing_to_balance() -> None:
    with pytest.raises(DataError, match="no photos"):
        balanced_indices(np.array([], dtype=np.int64), settings=BalanceSettings(), seed=0, epoch=0)
