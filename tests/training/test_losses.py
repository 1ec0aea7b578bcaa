import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bintally.training.losses import CountLoss, neighbour_targets


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
