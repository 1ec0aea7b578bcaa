import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bintally.training.losses import CountLoss, change_loss, neighbour_targets


@given(classes=st.integers(2, 12), neighbour=st.floats(0, 0.33))
def test_targets_are_distributions_centred_on_the_count(classes: int, neighbour: float) -> None:
    targets_kk = neighbour_targets(classes, neighbour)
    assert torch.allclose(targets_kk.sum(dim=1), torch.ones(classes))
    assert torch.equal(targets_kk.argmax(dim=1), torch.arange(classes))
    assert bool((targets_kk.triu(2) == 0).all() and (targets_kk.tril(-2) == 0).all())


def test_targets_by_hand() -> None:
    wanted = torch.tensor([[0.9, 0.1, 0.0], [0.1, 0.8, 0.1], [0.0, 0.1, 0.9]])
    assert torch.allclose(neighbour_targets(3, 0.1), wanted)


def test_without_neighbours_it_is_cross_entropy() -> None:
    logits_nk, labels_n = torch.randn(20, 7), torch.randint(0, 7, (20,))
    ours = CountLoss(neighbour_targets(7, 0.0))(logits_nk, labels_n)
    assert ours.item() == pytest.approx(torch.nn.functional.cross_entropy(logits_nk, labels_n).item(), rel=1e-5)


def test_class_weights_are_torchs() -> None:
    logits_nk, labels_n, weights_k = torch.randn(20, 3), torch.randint(0, 3, (20,)), torch.tensor([0.5, 1.0, 2.0])
    ours = CountLoss(neighbour_targets(3, 0.0), weights_k)(logits_nk, labels_n)
    wanted = torch.nn.functional.cross_entropy(logits_nk, labels_n, weight=weights_k)
    assert ours.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_shares_of_one_label_are_that_label() -> None:
    loss = CountLoss(neighbour_targets(5, 0.1), torch.tensor([1.0, 2.0, 1.0, 0.5, 1.0]))
    logits_nk, labels_n = torch.randn(12, 5), torch.randint(0, 5, (12,))
    assert loss(logits_nk, torch.eye(5)[labels_n]).item() == pytest.approx(loss(logits_nk, labels_n).item(), rel=1e-5)


def test_a_mixed_label_spreads_to_the_neighbours_of_both() -> None:
    loss = CountLoss(neighbour_targets(4, 0.1))
    logits_nk = torch.randn(1, 4)
    targets_k = 0.7 * torch.tensor([0.9, 0.1, 0, 0]) + 0.3 * torch.tensor([0, 0.1, 0.8, 0.1])
    wanted = -(targets_k * logits_nk[0].log_softmax(dim=0)).sum().item()
    assert loss(logits_nk, torch.tensor([[0.7, 0, 0.3, 0]])).item() == pytest.approx(wanted, rel=1e-5)


def test_the_teachers_share_of_the_loss_by_hand() -> None:
    logits_nk, teacher_nk, labels_n = torch.randn(6, 3), torch.rand(6, 3).softmax(dim=1), torch.randint(0, 3, (6,))
    targets_kk = neighbour_targets(3, 0.1)
    labelled = CountLoss(targets_kk)(logits_nk, labels_n).item()
    followed = -4 * (teacher_nk * (logits_nk / 2).log_softmax(dim=1)).sum(dim=1).mean().item()
    both = CountLoss(targets_kk, teacher_weight=0.7, temperature=2.0)(logits_nk, labels_n, teacher_nk).item()
    assert both == pytest.approx(0.3 * labelled + 0.7 * followed, rel=1e-5)


def test_photos_weigh_as_told() -> None:
    loss = CountLoss(neighbour_targets(3, 0.1))
    logits_nk, labels_n = torch.randn(4, 3), torch.tensor([0, 1, 2, 1])
    twice = loss(logits_nk[[0, 1, 1]], labels_n[[0, 1, 1]])
    torch.testing.assert_close(loss(logits_nk, labels_n, None, torch.tensor([1.0, 2.0, 0.0, 0.0])), twice)


def test_a_change_that_is_known_without_photos_costs_nothing() -> None:
    log_prior_pd = torch.log(torch.tensor([[1e-9, 1 - 1e-9], [0.5, 0.5]]))
    nothing_pd = torch.zeros(2, 2)
    sure = change_loss(nothing_pd, log_prior_pd, torch.tensor([1, 0]), torch.tensor([1.0, 0.0]))
    assert sure.item() == pytest.approx(0, abs=1e-6)
    open_ = change_loss(nothing_pd, log_prior_pd, torch.tensor([1, 0]), torch.tensor([1.0, 1.0]))
    assert open_.item() == pytest.approx(math.log(2) / 2)
