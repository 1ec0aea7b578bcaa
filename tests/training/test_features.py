"""The head of a frozen backbone: standardised features while it learns, plain ones once it is folded."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bintally.errors import BackboneError
from bintally.manifest import SPLIT, Manifest
from bintally.progress import SILENT
from bintally.training.cache import PhotoCache
from bintally.training.features import FeatureHead, compute_features, folded_head, kept_features, linear_head
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


def test_features_are_computed_once_for_the_same_weights_and_photos(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    table = Manifest.read(copy, SPLIT).usable("train").sort("bin_image_id")
    torch.manual_seed(0)
    network, _ = build_network(NetworkSettings(backbone="test_resnet", weights=("none",)), 3)
    options: dict[str, Any] = {"px": 64, "mirrored": False, "bf16": False, "progress": SILENT}
    first_nvf = kept_features(network, copy, table, **options)
    wanted_nvf = compute_features(
        network,
        PhotoCache.build(copy, table, px=64),
        table["sha256"].to_list(),
        mirrored=False,
        bf16=False,
        progress=SILENT,
    )
    assert torch.equal(first_nvf, wanted_nvf)

    computed: list[bool] = []

    def compute(*_: Any, mirrored: bool, **__: Any) -> torch.Tensor:
        computed.append(mirrored)
        return wanted_nvf

    monkeypatch.setattr("bintally.training.features.compute_features", compute)
    with torch.no_grad():
        next(network.head().parameters()).add_(1)  # another head: the same features
    assert torch.equal(kept_features(network, copy, table, **options), first_nvf)
    kept_features(network, copy, table[::-1], **options)
    assert len(computed) == 1, "photos in another order are others"
    kept_features(network, copy, table, **{**options, "mirrored": True})
    assert len(computed) == 2
    with torch.no_grad():
        next(iter(network.parameters())).add_(1)
    kept_features(network, copy, table, **options)
    assert len(computed) == 3, "other weights see other features"
