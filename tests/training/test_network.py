from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bintally.errors import BackboneError
from bintally.training.network import build_network, freeze, frozen_norms, load_weights, read_weights
from bintally.training.recipe import NetworkSettings
from tests.conftest import shared_dir


def _settings(**values: object) -> NetworkSettings:
    return NetworkSettings.of({"backbone": "test_resnet", "weights": "none", **values})


def test_features_and_logits_have_their_shapes() -> None:
    network, origin = build_network(_settings(), 7)
    pixels_nchw = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    network.eval()
    features_nf = network.features(pixels_nchw)
    assert features_nf.ndim == 2
    assert network(pixels_nchw).shape == (2, 7)
    assert torch.allclose(network.head()(features_nf), network(pixels_nchw))
    assert origin == "from scratch"


def test_unknown_backbone_says_which_was_meant() -> None:
    with pytest.raises(BackboneError, match=r"Did you mean .*densenet169"):
        build_network(_settings(backbone="densnet169"), 5)


def test_missing_weights_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"no weights at .*none\.safetensors.*BINTALLY_WEIGHTS"):
        build_network(_settings(weights=str(tmp_path / "none.safetensors")), 5)


def test_when_nothing_can_be_had_every_attempt_is_told(tmp_path: Path) -> None:
    weights = (str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors"))
    with pytest.raises(BackboneError, match=r"None of the weights.*a\.safetensors.*b\.safetensors.*'none'"):
        build_network(_settings(weights=weights), 5)


def test_first_weights_that_can_be_had_are_taken(tmp_path: Path) -> None:
    first, _ = build_network(_settings(), 5)
    save_file(
        {name: value.contiguous() for name, value in first.backbone.state_dict().items()}, tmp_path / "b.safetensors"
    )
    found, origin = build_network(
        _settings(weights=(str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors"))), 5
    )
    assert origin == "b.safetensors"
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), found.parameters(), strict=True))


def test_weights_are_found_by_name_in_the_weights_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, _ = build_network(_settings(), 5)
    state = {name: value.contiguous() for name, value in network.backbone.state_dict().items()}
    save_file(state, tmp_path / "mine.safetensors")
    monkeypatch.setenv("BINTALLY_WEIGHTS", f"/nowhere:{tmp_path}")
    assert build_network(_settings(weights="mine.safetensors"), 5)[1] == "mine.safetensors"


def test_truncated_weights_are_called_so(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(BackboneError, match="no whole safetensors file"):
        read_weights(path)


def test_weights_of_another_architecture_are_refused() -> None:
    network, _ = build_network(_settings(), 5)
    other, _ = build_network(_settings(backbone="test_vit"), 5)
    with pytest.raises(BackboneError, match="another architecture"):
        load_weights(network, other.backbone.state_dict(), "w", strict=False)


def test_a_classifier_of_another_size_starts_from_scratch() -> None:
    seven, _ = build_network(_settings(), 7)
    five, _ = build_network(_settings(), 5)
    load_weights(five, seven.backbone.state_dict(), "seven", strict=False)
    assert torch.equal(five.backbone.state_dict()["conv1.0.weight"], seven.backbone.state_dict()["conv1.0.weight"])


def test_half_a_backbone_is_said_to_be_half(tmp_path: Path) -> None:
    network, _ = build_network(_settings(), 5)
    state = {k: v for k, v in network.backbone.state_dict().items() if not k.startswith(("layer4.", "fc."))}
    assert "start from scratch" in load_weights(network, state, "partial", strict=False)


@pytest.mark.parametrize("tune", ["head", "last:1", "all"])
def test_only_what_tune_names_learns(tune: str) -> None:
    network, _ = build_network(_settings(), 5)
    freeze(network, tune)
    learning = {name for name, p in network.backbone.named_parameters() if p.requires_grad}
    assert {"fc.weight", "fc.bias"} <= learning
    assert ("conv1.0.weight" in learning) == (tune == "all")
    assert (len(learning) == 2) == (tune == "head")
    assert bool(list(frozen_norms(network))) == (tune != "all")


def test_real_half_precision_weights_load() -> None:
    path = shared_dir("weights/densenet169.in1k.fp16.safetensors")
    network, origin = build_network(_settings(backbone="densenet169", weights=str(path)), 5)
    assert origin == path.name
    assert next(network.parameters()).dtype == torch.float32


def test_partial_real_backbone_is_accepted_and_said_to_be_partial() -> None:
    path = shared_dir("weights/resnet50.in1k.layer1-3.fp16.safetensors")
    _, origin = build_network(_settings(backbone="resnet50", weights=str(path)), 5)
    assert "start from scratch" in origin
