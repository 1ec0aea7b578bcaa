"""The head of a frozen backbone: standardised features while it learns, plain ones once it is folded."""

import pytest
import torch
from torch import nn

from bintally.errors import BackboneError
from bintally.training.features import FeatureHead, folded_head, linear_head
from bintally.training.network import build_network
from bintally.training.recipe import NetworkSettings


def _features(seed: int) -> torch.Tensor:
    """[photos, views, features], in very different scales."""
    scale_f = torch.logspace(-3, 3, 12)
    return (torch.randn(40, 2, 12, generator=torch.Generator().manual_seed(seed)) + 2) * scale_f


def test_head_sees_standardised_features() -> None:
    head = nn.Linear(12, 12, bias=False)
    head.weight.data = torch.eye(12)
    features_nvf = _features(0)
    seen_nf = FeatureHead(head, 0.0, features_nvf)(features_nvf.flatten(0, 1))
    torch.testing.assert_close(seen_nf.mean(dim=0), torch.zeros(12), atol=1e-3, rtol=0)
    torch.testing.assert_close(seen_nf.std(dim=0, correction=0), torch.ones(12), atol=2e-3, rtol=0)


def test_constant_features_stay_finite() -> None:
    learning = FeatureHead(nn.Linear(3, 2), 0.0, torch.ones(5, 1, 3))
    assert torch.isfinite(learning(torch.ones(4, 3))).all()


def test_folded_head_says_the_same_of_plain_features() -> None:
    learning = FeatureHead(nn.Linear(12, 5), 0.5, _features(0)).eval()
    plain = nn.Linear(12, 5)
    plain.load_state_dict(folded_head(learning.state_dict()))
    features_nf = _features(1)[:, 0]
    torch.testing.assert_close(plain(features_nf), learning(features_nf), atol=1e-3, rtol=1e-3)


def test_head_that_is_no_linear_layer_is_refused() -> None:
    network, _ = build_network(NetworkSettings(backbone="test_resnet", weights=("none",)), 3)
    assert isinstance(linear_head(network), nn.Linear)
    network.backbone.fc = nn.Sequential(nn.Linear(64, 8), nn.Linear(8, 3))
    with pytest.raises(BackboneError, match="no linear layer"):
        linear_head(network)
