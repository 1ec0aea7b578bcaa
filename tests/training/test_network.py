from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bintally.errors import BackboneError
from bintally.training.network import build_network, freeze, frozen_norms, load_weights, read_weights, try_out
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


@pytest.mark.parametrize(
    ("backbone", "stages", "features"),
    [("test_resnet", 3, 192), ("test_resnet", 1, 32), ("densenet121", 3, 1024), ("test_convnext", 3, 48)],
)
def test_a_network_that_was_cut_is_whole_up_to_there(backbone: str, stages: int, features: int) -> None:
    torch.manual_seed(0)
    whole, _ = build_network(_settings(backbone=backbone), 5)
    cut, _ = build_network(_settings(backbone=backbone, stages=stages), 5)
    load_weights(cut, whole.backbone.state_dict(), "whole", strict=False)
    try_out(cut, 64)
    pixels_nchw = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    seen: list[torch.Tensor] = []
    stage = list(whole.backbone.feature_info)[stages - (backbone == "test_convnext")]["module"]
    whole.backbone.get_submodule(stage).register_forward_hook(lambda *call: seen.append(call[2]))
    with torch.no_grad():
        whole.eval()(pixels_nchw)
        features_nf = cut.eval().features(pixels_nchw)
        assert cut(pixels_nchw).shape == (2, 5)
    assert features_nf.shape == (2, features)
    if backbone != "test_convnext":  # whose head has a norm of its own
        assert torch.allclose(features_nf, seen[0].mean(dim=(2, 3)), atol=1e-5)


def test_the_last_stages_of_a_cut_network_can_be_tuned_alone() -> None:
    network, _ = build_network(_settings(stages=3), 5)
    freeze(network, "last:1")
    learning = {name.partition(".")[0] for name, p in network.backbone.named_parameters() if p.requires_grad}
    assert learning == {"layer3", "fc"}


@pytest.mark.parametrize("stages", [5, 40])
def test_a_cut_where_there_is_no_stage_is_refused(stages: int) -> None:
    with pytest.raises(BackboneError, match=r"can't be cut after stage .*between 1 and 4"):
        build_network(_settings(stages=stages), 5)


def test_weights_of_another_architecture_do_not_pass_for_what_was_cut_off() -> None:
    cut, _ = build_network(_settings(stages=3), 5)
    other, _ = build_network(_settings(backbone="test_vit"), 5)
    with pytest.raises(BackboneError, match="another architecture"):
        load_weights(cut, other.backbone.state_dict(), "w", strict=False)


def test_half_a_real_backbone_is_all_of_a_cut_one() -> None:
    path = shared_dir("weights/resnet50.in1k.layer1-3.fp16.safetensors")
    network, origin = build_network(_settings(backbone="resnet50", stages=3, weights=str(path)), 7)
    assert origin == path.name
    assert network.head().in_features == 1024


def test_raw_pixels_are_scaled_alone_where_asked() -> None:
    settings = NetworkSettings(backbone="test_resnet", weights=("none",), normalise=False)
    network, _ = build_network(settings, 3)
    assert network.mean_c11.abs().max() == 0
    assert network.std_c11.flatten().tolist() == [255, 255, 255]
