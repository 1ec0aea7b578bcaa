"""Wrong labels: found where the features know better, and not claimed where they don't."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bintally.errors import TrainingError
from bintally.training.diagnose.before import confident
from bintally.training.diagnose.before.label_noise import LabelNoise, at_most, label_noise, planted_labels
from bintally.training.diagnose.before.out_of_sample import grouped_folds, grouped_parts

KEYS = ("1", "2", "3", "4")


def _bins(
    *, strength: float, wrong: float, photos: int = 800
) -> tuple[torch.Tensor, NDArray[np.int64], NDArray[np.str_], NDArray[np.bool_]]:
    """Features that tell the true count by `strength`, recorded counts of which a share is `wrong`, bins, which."""
    rng = np.random.default_rng(5)
    true_n = rng.integers(0, len(KEYS), photos)
    centres_kf = rng.standard_normal((len(KEYS), 12))
    features_nf = strength * centres_kf[true_n] + rng.standard_normal((photos, 12))
    recorded_n = planted_labels(true_n, len(KEYS), share=wrong, seed=9)
    groups_n = rng.integers(0, photos // 2, photos).astype(np.str_)
    return torch.from_numpy(features_nf).float(), recorded_n, groups_n, recorded_n != true_n


def _noise(strength: float, wrong: float) -> tuple[LabelNoise, NDArray[np.bool_]]:
    features_nf, labels_n, groups_n, wrong_n = _bins(strength=strength, wrong=wrong)
    return label_noise(features_nf, labels_n, groups_n, KEYS), wrong_n


@pytest.mark.parametrize("wrong", [0.05, 0.2])
def test_where_features_are_strong_the_estimate_and_the_list_are_right(wrong: float) -> None:
    found, wrong_n = _noise(4.0, wrong)
    assert found.estimate == pytest.approx(wrong, abs=0.02)
    assert wrong - 0.02 < found.at_most < wrong + 0.1
    assert found.believable
    assert found.rise == pytest.approx(1, abs=0.2)
    assert found.planted.found > 0.85
    assert found.planted.ranked_above > 0.8
    rows = [suspect.row for suspect in found.suspects]
    assert wrong_n[rows].mean() > 0.8
    assert wrong_n[rows].sum() >= 0.8 * wrong_n.sum()
    assert f"{found.estimate:.1%} of the recorded counts are wrong" in found.sentence()


def test_where_features_are_weak_it_says_so() -> None:
    found, _ = _noise(0.25, 0.05)
    assert found.estimate > 0.3  # confident learning alone would claim this
    assert not found.believable
    assert "can't be told" in found.sentence()
    assert found.accuracy < 0.6
    assert found.at_most > 0.05


def test_suspects_come_most_suspicious_first() -> None:
    found, _ = _noise(1.0, 0.1)
    margins = [suspect.probability - suspect.recorded_probability for suspect in found.suspects]
    assert margins == sorted(margins, reverse=True)
    assert len({suspect.row for suspect in found.suspects}) == len(margins) > 0


def test_fewer_bins_than_folds_are_refused() -> None:
    features_nf, labels_n, groups_n, _ = _bins(strength=1.0, wrong=0.1, photos=50)
    with pytest.raises(TrainingError, match="1 bins can't be held out in 5 folds"):
        label_noise(features_nf, labels_n, np.full_like(groups_n, "one"), KEYS)


@given(groups=st.integers(5, 60), photos=st.integers(60, 200), seed=st.integers(0, 99))
def test_no_bin_is_in_two_folds(groups: int, photos: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups_n = np.concatenate([np.arange(groups), rng.integers(0, groups, photos - groups)])
    fold_n = grouped_folds(rng.integers(0, 3, photos), groups_n, folds=5, seed=seed)
    assert all(len(set(fold_n[groups_n == group])) == 1 for group in range(groups))
    assert set(fold_n) == set(range(5))


def test_a_part_is_as_large_as_asked() -> None:
    _, labels_n, groups_n, _ = _bins(strength=1.0, wrong=0.1)
    part_n = grouped_parts(labels_n, groups_n, np.array([0.25, 0.75]), seed=0)
    assert (part_n == 0).sum() == pytest.approx(200, abs=10)


@given(share=st.floats(0.01, 0.4), seed=st.integers(0, 99), photos=st.integers(1, 300))
def test_planted_labels_are_wrong_and_as_many_as_asked(share: float, seed: int, photos: int) -> None:
    labels_n = np.random.default_rng(seed).integers(0, 4, photos)
    wrong_n = planted_labels(labels_n, 4, share=share, seed=seed)
    assert (wrong_n != labels_n).sum() == max(round(share * photos), 1)
    assert set(wrong_n) <= set(range(4))


@given(st.integers(0, 999))
def test_the_joint_keeps_how_often_each_count_is_recorded(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels_n = rng.integers(0, 4, 50)
    probabilities_nk = rng.dirichlet(np.ones(4), 50)
    likely_n = confident.likely_labels(probabilities_nk, labels_n)
    joint_kk = confident.joint(likely_n, labels_n, 4)
    np.testing.assert_allclose(joint_kk.sum(axis=1), np.bincount(labels_n, minlength=4) / 50)
    assert 0 <= confident.wrong_share(joint_kk) <= 1
    sure = likely_n >= 0
    limits_k = confident.thresholds(probabilities_nk, labels_n)
    assert (probabilities_nk[sure, likely_n[sure]] >= limits_k[likely_n[sure]]).all()


def test_a_joint_by_hand() -> None:
    probabilities_nk = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.05, 0.95]])
    labels_n = np.array([0, 0, 0, 1, 1])
    np.testing.assert_allclose(confident.thresholds(probabilities_nk, labels_n), [0.6, 0.825])
    likely_n = confident.likely_labels(probabilities_nk, labels_n)
    assert likely_n.tolist() == [0, 0, 1, -1, 1]
    np.testing.assert_allclose(confident.joint(likely_n, labels_n, 2), [[0.4, 0.2], [0.0, 0.4]])
    np.testing.assert_allclose(confident.suspicion(probabilities_nk, labels_n), [-0.8, -0.6, 0.8, -0.4, -0.9])


@given(wrong=st.floats(0, 0.5), seed=st.integers(0, 99))
def test_the_bound_holds_where_wrong_ones_look_as_the_planted(wrong: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    wrong_n = rng.random(4000) < wrong
    suspicion_n = rng.standard_normal(4000) + 1.5 * wrong_n
    planted = rng.standard_normal(1000) + 1.5
    bound = at_most(np.concatenate([suspicion_n, planted]), np.arange(5000) >= 4000)
    assert wrong - 0.05 < bound <= 1
