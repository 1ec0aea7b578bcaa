from typing import Any

import pytest

from bintally.training.network import CountNetwork, build_network
from bintally.training.optimizer import parameter_groups
from bintally.training.recipe import NetworkSettings, OptimizerSettings


def _network() -> CountNetwork:
    return build_network(NetworkSettings.of({"backbone": "test_resnet", "weights": "none"}), 5)[0]


def _groups(network: CountNetwork, **settings: Any) -> dict[str, dict[str, Any]]:
    names = {id(parameter): name for name, parameter in network.backbone.named_parameters()}
    groups = parameter_groups(network, network.head(), OptimizerSettings(body_lr=1.0, head_lr=7.0, **settings))
    return {names[id(parameter)]: group for group in groups for parameter in group["params"]}


def test_all_of_the_body_learns_alike_by_default() -> None:
    groups = _groups(_network())
    assert {group["lr"] for name, group in groups.items() if not name.startswith("fc.")} == {1.0}
    assert groups["fc.weight"]["lr"] == 7.0
    assert groups["fc.bias"]["weight_decay"] == 0
    assert groups["fc.weight"]["weight_decay"] > 0


def test_earlier_stages_learn_slower() -> None:
    network = _network()
    groups = _groups(network, layer_decay=0.5)
    assert groups.keys() == dict(network.backbone.named_parameters()).keys(), "each parameter is in one group"
    rates = {name.partition(".")[0]: group["lr"] for name, group in groups.items()}
    assert [rates[stage] for stage in ("fc", "layer4", "layer3", "layer2", "layer1")] == [7.0, 1.0, 0.5, 0.25, 0.125]
    assert rates["conv1"] == pytest.approx(0.0625)
